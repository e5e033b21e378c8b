//! One end of a connection in this process, the other one elsewhere: what `rping`, `perf` and `demo` have in common then.

use super::options::{CommandError, DeviceOptions, EtherOptions, RunOptions};
use crate::live::{Host, HostConfig};
use clap::Args;
use ironwarp_driver::transport::{DEVICE_VARIABLE, DeviceName};
use ironwarp_driver::verbs::ContextConfig;
use std::net::{Ipv4Addr, SocketAddrV4};

/// How long a client tries, seconds.
const CLIENT_SECONDS: u64 = 60;

/// Which end this process is.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct EndOptions {
    /// Be the server at this address of the RNIC; needs --ether, or --device with one RNIC.
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "connect")]
    listen: Option<SocketAddrV4>,
    /// Be the client of the server there; needs --ip, and --ether, or --device with one RNIC.
    #[arg(long, value_name = "ADDR:PORT", requires = "ip")]
    connect: Option<SocketAddrV4>,
    /// Give up, in order, after so many seconds; 0 is never. 60 for a client, never for a server unless it is given.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    ether: EtherOptions,
}

/// An end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The server, at this address of the RNIC.
    Server(SocketAddrV4),
    /// The client of the server there.
    Client(SocketAddrV4),
}

impl EndOptions {
    /// Which end it is; none if both run in this process.
    pub fn role(&self) -> Result<Option<Role>, CommandError> {
        let failed = |option| {
            Err(CommandError::Failed(format!("{option} needs --listen or --connect: one end runs elsewhere")))
        };
        match (self.listen, self.connect) {
            (Some(address), _) => Ok(Some(Role::Server(address))),
            (None, Some(address)) => Ok(Some(Role::Client(address))),
            (None, None) if self.ether.ether.is_some() => failed("--ether"),
            (None, None) if self.timeout.is_some() => failed("--timeout"),
            (None, None) => Ok(None),
        }
    }

    /// How long it tries, seconds; 0 is for ever.
    pub fn seconds(&self) -> u64 {
        self.timeout.unwrap_or(if self.connect.is_some() { CLIENT_SECONDS } else { 0 })
    }

    /// Its RNIC: in this process on an Ethernet, or elsewhere.
    pub fn host(&self, device: &DeviceOptions, run: &RunOptions) -> Result<Host, CommandError> {
        let failed = |text: String| Err(CommandError::Failed(text));
        let (mac, listen) = (self.ether.mac, self.listen.map(|address| *address.ip()));
        let ip = listen.or(self.ether.ip).unwrap_or(Ipv4Addr::UNSPECIFIED);
        match (&self.ether.ether, device.one()?) {
            (Some(ether), name) if name.is_simulated() => {
                Host::open(&HostConfig::new(ether.clone(), mac, ip).with(run)?)
            }
            (None, name) if name.is_simulated() => {
                failed("--ether is missing, or --device with an RNIC elsewhere".into())
            }
            (Some(_), name) => failed(format!(
                "the Ethernet of {name} is chosen where the device is: leave out --ether, or --device and {DEVICE_VARIABLE}"
            )),
            (None, name) => {
                run.check_elsewhere()?;
                Host::on_device(&name, ContextConfig::new(mac, ip).mtu(run.mtu))
            }
        }
    }

    /// What is played where, for reports.
    pub fn engine(&self, device: &DeviceOptions, run: &RunOptions) -> Result<String, CommandError> {
        let name: DeviceName = device.one()?;
        Ok(if name.is_simulated() { run.engine.settled().name().into() } else { name.to_string() })
    }
}
