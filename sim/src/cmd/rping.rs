//! `ironwarp rping`: the ping of rdma-core, message for message.
//!
//! ```text
//! client                                   server
//!   Send {address, STag, size} of source ->
//!                                        <- RDMA Read of the source
//!                                        <- Send (go on)
//!   Send {address, STag, size} of sink   ->
//!                                        <- RDMA Write of what was read, up to its terminating zero
//!                                        <- Send (written)
//! ```

use super::end::{EndOptions, Role};
use super::options::{CommandError, DeviceOptions, LinkOptions, RunOptions};
use crate::lab::{self, Lab};
use crate::live::{Patience, Stop};
use ironwarp_driver::cm::{AcceptParams, ConnectParams};
use ironwarp_driver::verbs::{
    Access, CompletionQueue, Context, MemoryRegion, Notify, QpConfig, QpState, QueuePair, ReceiveRequest,
    RemoteAddress, SendRequest, WcOpcode, WcStatus, WorkCompletion,
};
use std::net::SocketAddrV4;

/// Ping with RDMA, wire-compatible with rdma-core's rping. Without --listen and --connect both ends run in this process.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pings; the server serves until the client closes.
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// Size of a ping, bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    size: u32,
    /// Compare what comes back.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    end: EndOptions,
    #[command(flatten)]
    pub(super) device: DeviceOptions,
    #[command(flatten)]
    link: LinkOptions,
    #[command(flatten)]
    pub(super) run: RunOptions,
}

/// Port of rdma-core's rping.
const PORT: u16 = 7174;
/// Bytes of the message that names a buffer.
const INFO: usize = 16;
/// How long a peer may take to close, nanoseconds.
const CLOSING: u64 = 5_000_000_000;

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    match args.end.role()? {
        Some(Role::Server(address)) => {
            live(args, |context, end, patience| serve(context, end, patience, address.port(), args))
        }
        Some(Role::Client(address)) => {
            live(args, |context, end, patience| ping(context, end, patience, address, args))
        }
        None => both(args),
    }
}

/// One end. Whatever happens, the peer hears of the end: a FIN, or a RST when something went wrong.
fn live(
    args: &Args,
    work: impl FnOnce(&Context, &mut End, &Patience) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let stop = Stop::on_signals()?;
    let host = args.end.host(&args.device, &args.run)?;
    let mut end = End::new(&host.context, args, host.is_elsewhere())?;
    let worked = work(&host.context, &mut end, &host.patience(&stop, args.end.seconds()));
    let aborted = if worked.is_err() { end.qp.abort() } else { Ok(()) };
    let finished = host.finish();
    worked?;
    aborted?;
    finished
}

fn connect_params(args: &Args) -> ConnectParams {
    ConnectParams { crc: args.run.crc.is_on(), markers: args.run.markers.is_on(), ..ConnectParams::default() }
}

fn accept_params(args: &Args) -> AcceptParams {
    AcceptParams { crc: args.run.crc.is_on(), markers: args.run.markers.is_on(), ..AcceptParams::default() }
}

/// Server and client in this process.
fn both(args: &Args) -> Result<(), CommandError> {
    let lab: Lab = match args.device.pair()? {
        Some(names) => args.run.lab_on(names)?,
        None => args.run.lab(args.link.link())?,
    };
    let end = |node: usize| End::new(&lab.hosts[node], args, lab.is_live());
    let (mut client_end, mut server_end) = (end(0)?, end(1)?);
    let listener = lab.hosts[1].listen(PORT, 1)?;
    let server_address = SocketAddrV4::new(lab::address(1), PORT);
    let connecting = client_end.qp.connect(server_address, connect_params(args))?;
    let accepting = listener.wait(None)?.accept(&server_end.qp, accept_params(args))?;
    connecting.wait(None)?;
    accepting.wait(None)?;
    let mut server = Server::new();
    let mut client = Client::start(&mut client_end, args)?;
    loop {
        let finished = client.step(&mut client_end)?;
        server.step(&mut server_end)?;
        if finished {
            break;
        }
        server_end.arm()?;
        client_end.wait(&lab.hosts[0], &Patience::default())?;
    }
    client_end.close(&lab.hosts[0])?;
    lab.world().finish_capture()?;
    client.report(args);
    Ok(())
}

/// Serve one client until it closes.
fn serve(
    context: &Context,
    end: &mut End,
    patience: &Patience,
    port: u16,
    args: &Args,
) -> Result<(), CommandError> {
    let listener = context.listen(port, 4)?;
    println!("rping: listening at {}", listener.local());
    let request = patience.wait_for(context, || Ok(listener.poll()))?;
    println!("rping: connection from {}", request.peer());
    let accepting = request.accept(&end.qp, accept_params(args))?;
    patience.wait_for(context, || Ok(accepting.status().transpose()?))?;
    let mut server = Server::new();
    while end.qp.state() == QpState::Rts {
        server.step(end)?;
        end.wait(context, patience)?;
    }
    server.step(end)?;
    end.close(context)?;
    println!("rping: {} pings served", server.served);
    Ok(())
}

/// Ping the server there.
fn ping(
    context: &Context,
    end: &mut End,
    patience: &Patience,
    server: SocketAddrV4,
    args: &Args,
) -> Result<(), CommandError> {
    let connecting = end.qp.connect(server, connect_params(args))?;
    patience.wait_for(context, || Ok(connecting.status().transpose()?))?;
    let mut client = Client::start(end, args)?;
    while !client.step(end)? {
        end.wait(context, patience)?;
    }
    end.close(context)?;
    client.report(args);
    Ok(())
}

/// What both ends have: a queue pair and a buffer {own messages, the peer's messages, source, sink}.
struct End {
    cq: CompletionQueue,
    qp: QueuePair,
    memory: MemoryRegion,
    size: usize,
    /// The device is in another process.
    elsewhere: bool,
}

/// Offset of the peer's message.
const INBOX: usize = INFO;
/// Offset of the source.
const SOURCE: usize = 2 * INFO;

impl End {
    fn new(context: &Context, args: &Args, elsewhere: bool) -> Result<Self, CommandError> {
        let size = args.size as usize;
        let pd = context.alloc_pd()?;
        let cq = context.create_cq(16)?;
        let rights = Access::LOCAL_WRITE | Access::REMOTE_READ | Access::REMOTE_WRITE;
        // A peer may ping with more than we would.
        let room = size.max(65_536);
        let memory = pd.register(SOURCE + 2 * room, rights)?;
        let qp = pd.create_qp(&QpConfig::new(&cq, &cq).depths(16, 16))?;
        let end = Self { cq, qp, memory, size: room, elsewhere };
        end.post_inbox()?;
        Ok(end)
    }
    fn sink(&self) -> usize {
        SOURCE + self.size
    }
    fn post_inbox(&self) -> Result<(), CommandError> {
        Ok(self.qp.post_receive(&ReceiveRequest::new(0, [self.memory.sge(INBOX, INFO)?]))?)
    }
    /// Send the peer address, STag and size of own memory.
    fn advertise(&self, offset: usize, len: usize) -> Result<(), CommandError> {
        let mut info = [0; INFO];
        info[..8].copy_from_slice(&(self.memory.addr() + offset as u64).to_be_bytes());
        info[8..12].copy_from_slice(&self.memory.rkey().to_be_bytes());
        info[12..].copy_from_slice(&(len as u32).to_be_bytes());
        self.memory.write(0, &info)?;
        Ok(self.qp.post_send(&SendRequest::send(0, self.memory.sge(0, INFO)?))?)
    }
    /// What the peer's message names.
    fn advertised(&self) -> Result<(RemoteAddress, usize), CommandError> {
        let mut info = [0; INFO];
        self.memory.read(INBOX, &mut info)?;
        let word = |at: usize| u32::from_be_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        let to = u64::from(word(0)) << 32 | u64::from(word(4));
        Ok((RemoteAddress { to, stag: word(8) }, word(12) as usize))
    }
    /// The next completion; those that a closed connection flushes are passed over.
    fn poll(&self) -> Result<Option<WorkCompletion>, CommandError> {
        while let Some(completion) = self.cq.poll() {
            match completion.status {
                WcStatus::Ok => return Ok(Some(completion)),
                WcStatus::Flushed => {}
                status => {
                    return Err(CommandError::Failed(format!("{:?} failed: {status:?}", completion.opcode)));
                }
            }
        }
        Ok(None)
    }
    /// Have the next completion interrupt if the device is elsewhere: only that ends a wait at once. (In a simulated world the
    /// doorbell itself is an event, and time would stand still.)
    fn arm(&self) -> Result<(), CommandError> {
        if self.elsewhere { Ok(self.cq.arm(Notify::Any)?) } else { Ok(()) }
    }
    fn wait(&self, context: &Context, patience: &Patience) -> Result<(), CommandError> {
        self.arm()?;
        patience.wait(context)
    }
    fn close(&self, context: &Context) -> Result<(), CommandError> {
        self.qp.disconnect()?;
        // A peer that never closes is not waited for for ever.
        let deadline = context.now() + CLOSING;
        while matches!(self.qp.state(), QpState::Rts | QpState::Closing) && context.now() < deadline {
            context.wait(Some(deadline))?;
        }
        Ok(())
    }
}

/// The client: what it waits for.
struct Client {
    ping: u64,
    done: u64,
    count: u64,
    size: usize,
    verify: bool,
    wrong: u64,
    /// The sink was advertised; else the source.
    writing: bool,
}

impl Client {
    fn start(end: &mut End, args: &Args) -> Result<Self, CommandError> {
        let mut client = Self {
            ping: 0,
            done: 0,
            count: args.count,
            size: args.size as usize,
            verify: args.verify,
            wrong: 0,
            writing: false,
        };
        if client.count > 0 {
            client.begin(end)?;
        }
        Ok(client)
    }

    /// The text of a ping: its number, then letters that shift with each ping, then a zero.
    fn text(&self, ping: u64) -> Vec<u8> {
        let mut text = format!("rdma-ping-{ping}: ").into_bytes();
        let letters = (b'A'..=b'z').cycle().skip((ping % 58) as usize);
        text.extend(letters.take(self.size.saturating_sub(text.len())));
        text.truncate(self.size);
        if let Some(last) = text.last_mut() {
            *last = 0;
        }
        text
    }

    fn begin(&mut self, end: &End) -> Result<(), CommandError> {
        end.memory.write(SOURCE, &self.text(self.ping))?;
        end.memory.write(end.sink(), &vec![0; self.size])?;
        self.writing = false;
        end.advertise(SOURCE, self.size)
    }

    /// Go on with what has arrived; `true` when all pings are done.
    fn step(&mut self, end: &mut End) -> Result<bool, CommandError> {
        while let Some(completion) = end.poll()? {
            if completion.opcode != WcOpcode::Receive {
                continue;
            }
            end.post_inbox()?;
            if !self.writing {
                self.writing = true;
                end.advertise(end.sink(), self.size)?;
                continue;
            }
            let mut echo = vec![0; self.size];
            end.memory.read(end.sink(), &mut echo)?;
            self.wrong += u64::from(self.verify && echo != self.text(self.ping));
            self.done += 1;
            self.ping += 1;
            if self.done < self.count {
                self.begin(end)?;
            }
        }
        if self.done < self.count && end.qp.state() != QpState::Rts {
            let events: Vec<_> = std::iter::from_fn(|| end.qp.poll_event()).collect();
            return Err(CommandError::Failed(format!(
                "the connection ended after {} pings: {events:?}",
                self.done
            )));
        }
        if self.wrong > 0 {
            return Err(CommandError::Failed(format!("ping {} came back changed", self.ping)));
        }
        Ok(self.done == self.count)
    }

    fn report(&self, args: &Args) {
        let how = if args.verify { "verified" } else { "done" };
        println!("rping: {} pings of {} bytes {how}", self.done, args.size);
    }
}

/// The server: what it waits for.
struct Server {
    served: u64,
    read: usize,
    writing: bool,
}

impl Server {
    fn new() -> Self {
        Self { served: 0, read: 0, writing: false }
    }

    fn step(&mut self, end: &mut End) -> Result<(), CommandError> {
        while let Some(completion) = end.poll()? {
            match completion.opcode {
                WcOpcode::Receive if !self.writing => {
                    let (remote, size) = end.advertised()?;
                    end.post_inbox()?;
                    if size > end.size {
                        return Err(CommandError::Failed(format!(
                            "a ping of {size} bytes is too long for {}",
                            end.size
                        )));
                    }
                    self.read = size;
                    end.qp.post_send(&SendRequest::read(0, end.memory.sge(SOURCE, size)?, remote))?;
                }
                WcOpcode::Read => {
                    self.writing = true;
                    end.advertise(SOURCE, self.read)?;
                }
                WcOpcode::Receive => {
                    let (remote, size) = end.advertised()?;
                    end.post_inbox()?;
                    let mut text = vec![0; self.read.min(size)];
                    end.memory.read(SOURCE, &mut text)?;
                    let len = text.iter().position(|byte| *byte == 0).map_or(text.len(), |at| at + 1);
                    end.qp.post_send(&SendRequest::write(0, end.memory.sge(SOURCE, len)?, remote))?;
                }
                WcOpcode::Write => {
                    self.writing = false;
                    self.served += 1;
                    end.advertise(SOURCE, self.read)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
