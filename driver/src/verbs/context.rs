//! An open device.

use super::CompletionQueue;
use super::channel::CompletionChannel;
use super::cq::CqInner;
use super::device::Device;
use super::pd::ProtectionDomain;
use super::service::Routine;
use crate::cm::Handler;
use crate::error::Error;
use crate::hw::{Counters, DeviceAttributes, Hw, RawHandler, TcpTiming};
use crate::sync::lock;
use crate::transport::{DeviceName, Service, Transport, Wait};
use ironwarp_proto::abi::queue::LOG2_MAX;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::wire::eth::MacAddr;
use std::net::Ipv4Addr;
use std::sync::{Arc, Weak};

/// How to open a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextConfig {
    /// Own MAC address.
    pub mac: MacAddr,
    /// Own IPv4 address.
    pub ip: Ipv4Addr,
    /// Largest IPv4 packet, bytes.
    pub mtu: u16,
    /// Seed of STags and of everything else that is random; `None` takes it from the operating system, which alone is safe
    /// against a guessing peer.
    pub seed: Option<u64>,
    /// Timing of TCP.
    pub timing: TcpTiming,
    /// log2 of the event queue's entries.
    pub event_log2: u8,
    /// log2 of the raw receive ring's slots of 16 KiB.
    pub raw_receive_log2: u8,
    /// log2 of the raw transmit ring's slots of 16 KiB.
    pub raw_transmit_log2: u8,
}

impl Default for ContextConfig {
    /// 02:00:00:00:00:01, 10.0.0.1, an MTU of 1500, a random seed, 256 events, 64 + 64 raw frames.
    fn default() -> Self {
        Self {
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            ip: Ipv4Addr::new(10, 0, 0, 1),
            mtu: 1500,
            seed: None,
            timing: TcpTiming::default(),
            event_log2: 8,
            raw_receive_log2: 6,
            raw_transmit_log2: 6,
        }
    }
}

impl ContextConfig {
    /// The default with these addresses.
    pub fn new(mac: MacAddr, ip: Ipv4Addr) -> Self {
        Self { mac, ip, ..Self::default() }
    }
    /// With this MTU.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }
    /// With this seed: the same run again, for tests.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
    /// With this timing of TCP.
    #[must_use]
    pub fn timing(mut self, timing: TcpTiming) -> Self {
        self.timing = timing;
        self
    }

    fn check(&self) -> Result<(), Error> {
        // RFC 791: every host takes 576 bytes. 9,000 is a jumbo frame; a raw slot holds more than that.
        if !(576..=9_000).contains(&self.mtu) {
            return Err(Error::range("MTU", self.mtu, "576..=9000"));
        }
        if self.mac.is_multicast() || self.mac == MacAddr::default() {
            return Err(Error::Mismatch(
                "the MAC address is a group address or zero; give the device its own",
            ));
        }
        let logs = [
            ("event queue log2", self.event_log2, LOG2_MAX),
            ("raw receive ring log2", self.raw_receive_log2, 10),
            ("raw transmit ring log2", self.raw_transmit_log2, 10),
        ];
        for (what, log2, max) in logs {
            if !(1..=max).contains(&log2) {
                return Err(Error::range(what, log2, format_args!("1..={max}")));
            }
        }
        Ok(())
    }
}

/// An open device: where all other objects come from. A clone is another handle.
#[derive(Clone)]
pub struct Context {
    pub(crate) device: Arc<Device>,
}

impl Context {
    /// Identify, reset and start the device behind `transport`, and attach the service routine to it.
    ///
    /// Errors: not an Ironwarp device, another ABI version, senseless registers or configuration, no memory.
    pub fn open(transport: Arc<dyn Transport>, config: ContextConfig) -> Result<Self, Error> {
        config.check()?;
        let hw = Hw::open(Arc::clone(&transport))?;
        hw.configure(config.mac, &config.timing)?;
        let (events, receive, transmit) =
            (config.event_log2, config.raw_receive_log2, config.raw_transmit_log2);
        let routine = Routine::start(&hw, events, receive, transmit)?;
        let device = Arc::new(Device::new(hw, config, routine));
        let service: Weak<Device> = Arc::downgrade(&device);
        transport.attach(service);
        lock(&device.routine).handler = Some(Box::new(Handler(Arc::clone(device.manager()))));
        device.hw.enable()?;
        Ok(Self { device })
    }

    /// Open the device with this name, [`Context::open`] behind [`DeviceName::open`].
    pub fn open_device(name: &DeviceName, config: ContextConfig) -> Result<Self, Error> {
        Self::open(name.open()?, config)
    }

    /// What the device can do.
    pub fn attributes(&self) -> &DeviceAttributes {
        self.device.hw.attributes()
    }
    /// How it was opened.
    pub fn config(&self) -> &ContextConfig {
        &self.device.config
    }
    /// The seed in use, for others who need randomness of their own.
    pub fn seed(&self) -> u64 {
        self.device.seed
    }
    /// The device's counters, extended to 64 bits. Call it at least every 30 s, or a 32-bit counter may wrap unseen.
    pub fn counters(&self) -> Result<Counters, Error> {
        Ok(self.device.counters.read(&self.device.hw)?)
    }
    /// The way to the device.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        self.device.hw.transport()
    }
    /// Registers, commands and tables of the device.
    pub fn hw(&self) -> &Hw {
        &self.device.hw
    }
    /// Time, ns.
    pub fn now(&self) -> Nanos {
        self.transport().now()
    }
    /// Let time pass until something happened or `deadline` has come.
    pub fn wait(&self, deadline: Option<Nanos>) -> Result<Wait, Error> {
        Ok(self.transport().wait(deadline)?)
    }
    /// Poll until `poll` has something, waiting between, or until `deadline`.
    pub fn wait_for<T>(
        &self,
        deadline: Option<Nanos>,
        poll: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        self.device.wait_for(deadline, poll)
    }
    /// Have the service routine called soon, because the raw handler has something to send.
    pub fn kick(&self) {
        self.device.kick();
    }
    /// Name who handles raw frames. Frames that came before were dropped.
    pub fn set_raw_handler(&self, handler: Box<dyn RawHandler>) {
        let old = lock(&self.device.routine).handler.replace(handler);
        // Dropped behind the lock: it may own objects that need it.
        drop(old);
    }

    /// A protection domain.
    pub fn alloc_pd(&self) -> Result<ProtectionDomain, Error> {
        ProtectionDomain::create(&self.device)
    }
    /// A completion queue of at least `depth` entries; the next power of two is used.
    pub fn create_cq(&self, depth: u32) -> Result<CompletionQueue, Error> {
        Ok(CompletionQueue(CqInner::create(&self.device, depth, None)?))
    }
    /// A channel for the events of several completion queues.
    pub fn create_channel(&self) -> CompletionChannel {
        CompletionChannel::new(&self.device)
    }
    /// A completion queue whose events go to `channel`.
    pub fn create_cq_on(&self, depth: u32, channel: &CompletionChannel) -> Result<CompletionQueue, Error> {
        if !Arc::ptr_eq(&self.device, &channel.device) {
            return Err(Error::Mismatch("the channel is of another context"));
        }
        let inner = Some(Arc::clone(&channel.inner));
        Ok(CompletionQueue(CqInner::create(&self.device, depth, inner)?))
    }
}

impl Service for Context {
    fn service(&self) -> Option<Nanos> {
        self.device.service()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({} {})", self.device.config.mac, self.device.config.ip)
    }
}
