//! `ironwarp perf --listen` and `--connect`: the two hosts are in two processes, each with its RNIC.
//!
//! The client's MPA request says what is to be measured, the server's reply where its memory is. The server does what the client's
//! operation needs of it, until the client closes.

use super::{Args, Operation, Peer, Report, Side, print};
use crate::cmd::end::Role;
use crate::cmd::options::{CommandError, peak_rss_bytes};
use crate::live::{Patience, Stop};
use ironwarp_driver::cm::{AcceptParams, ConnectParams, ConnectionRequest};
use ironwarp_driver::verbs::{Context, Notify, QpState, QueuePair, RemoteAddress};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::pins::Nanos;
use std::net::SocketAddrV4;
use std::time::Instant;

/// Begins the private data of a request.
const MAGIC: &[u8; 8] = b"iw-perf1";
/// Length of that private data.
const PLAN: usize = 33;
/// How long the other end may take to close.
const CLOSING: Nanos = 5_000_000_000;

fn failed(text: impl Into<String>) -> CommandError {
    CommandError::Failed(text.into())
}

/// What the client asks for: magic, operation, messages of each queue pair, size, queue pairs, depth; big-endian.
fn plan(args: &Args, size: u32) -> Vec<u8> {
    let mut plan = MAGIC.to_vec();
    plan.push(args.op as u8);
    plan.extend(args.iterations.to_be_bytes());
    for word in [size, args.qps, args.depth] {
        plan.extend(word.to_be_bytes());
    }
    plan.resize(PLAN, 0);
    plan
}

/// The arguments that a client's plan amounts to here, and the size.
fn adopt(args: &Args, plan: &[u8]) -> Option<(Args, u32)> {
    let rest = plan.strip_prefix(MAGIC).filter(|_| plan.len() == PLAN)?;
    let (op, rest) = rest.split_first()?;
    let op = [Operation::Write, Operation::Send, Operation::Read, Operation::Atomic]
        .into_iter()
        .find(|known| *known as u8 == *op)?;
    let number = |at: usize, len: usize| rest[at..at + len].iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let [size, qps, depth] = [8, 12, 16].map(|at| number(at, 4) as u32);
    let sound = size <= 1 << 30 && (1..=60).contains(&qps) && (1..=128).contains(&depth);
    sound.then(|| (Args { op, iterations: number(0, 8), qps, depth, ..args.clone() }, size))
}

/// Address and STag of the server's memory.
fn named(private_data: &[u8]) -> Option<RemoteAddress> {
    let (to, stag) = (private_data.first_chunk()?, private_data.get(8..)?.first_chunk()?);
    Some(RemoteAddress { to: u64::from_be_bytes(*to), stag: u32::from_be_bytes(*stag) })
}

/// Be one end. Whatever happens, the other one hears of the end: a FIN, or a RST when something went wrong.
pub(super) fn run(args: &Args, size: u32, role: Role) -> Result<(), CommandError> {
    if args.bidir || args.link.rate.bps().is_some() {
        return Err(failed(
            "the client alone sends, over a link that is not made here: leave out --bidir and --link",
        ));
    }
    let stop = Stop::on_signals()?;
    let host = args.end.host(&args.device, &args.run)?;
    let patience = host.patience(&stop, args.end.seconds());
    let mut end = End { context: host.context.clone(), elsewhere: host.is_elsewhere(), patience, side: None };
    let worked = match role {
        Role::Server(address) => end.serve(args, address),
        Role::Client(address) => end.measure(args, size, address),
    };
    for qp in end.side.iter().flat_map(|side| &side.qps).filter(|_| worked.is_err()) {
        qp.abort()?;
    }
    let finished = host.finish();
    worked?;
    finished
}

struct End {
    context: Context,
    elsewhere: bool,
    patience: Patience,
    side: Option<Side>,
}

impl End {
    /// Let something happen.
    fn wait(&self) -> Result<(), CommandError> {
        if let Some(side) = self.side.as_ref().filter(|_| self.elsewhere) {
            side.cq.arm(Notify::Any)?;
        }
        self.patience.wait(&self.context)
    }

    fn side(&mut self) -> Result<&mut Side, CommandError> {
        self.side.as_mut().ok_or_else(|| failed("there is no connection"))
    }

    /// Serve one client, on all its connections, until it has closed them.
    fn serve(&mut self, args: &Args, address: SocketAddrV4) -> Result<(), CommandError> {
        let listener = self.context.listen(address.port(), 64)?;
        println!("perf: listening at {}", listener.local());
        let first = self.patience.wait_for(&self.context, || Ok(listener.poll()))?;
        println!("perf: connection from {}", first.peer());
        let asked = first.private_data().to_vec();
        let Some((plan, size)) = adopt(args, &asked) else {
            first.reject(b"not ironwarp perf")?;
            return Err(failed("the client is not 'ironwarp perf' of this version"));
        };
        self.side = Some(Side::new(&self.context, 1, &plan, size)?);
        let mut request = Some(first);
        let mut accepted = 0;
        loop {
            if let Some(request) = request.take() {
                self.accept(&plan, size, request, accepted)?;
                accepted += 1;
            }
            // What arrives on a connection that its client then closes is all there.
            let side = self.side()?;
            side.reap(size)?;
            if accepted == side.qps.len() {
                if side.qps.iter().all(|qp| qp.state() != QpState::Rts) {
                    break;
                }
            } else {
                request = listener.poll().filter(|request| request.private_data() == asked);
            }
            if request.is_none() {
                self.wait()?;
            }
        }
        self.close()?;
        let side = self.side()?;
        side.reap(size)?;
        let messages = plan.iterations * u64::from(plan.qps);
        if plan.op == Operation::Send && side.received != messages {
            return Err(failed(format!("{} of {messages} messages came", side.received)));
        }
        if matches!(plan.op, Operation::Send | Operation::Write) {
            side.verify(size, 0)?;
        }
        println!("perf: {messages} messages of {size} bytes served");
        Ok(())
    }

    fn accept(
        &mut self,
        plan: &Args,
        size: u32,
        request: ConnectionRequest,
        place: usize,
    ) -> Result<(), CommandError> {
        let how = plan.run.connection();
        let (context, patience) = (self.context.clone(), self.patience.clone());
        let side = self.side()?;
        let memory = side.region.remote(0)?;
        let mut private_data = memory.to.to_be_bytes().to_vec();
        private_data.extend(memory.stag.to_be_bytes());
        let params =
            AcceptParams { private_data, crc: how.crc, markers: how.markers, ..AcceptParams::default() };
        side.post_receives(plan, size, place)?;
        let accepting = request.accept(&side.qps[place], params)?;
        patience.wait_for(&context, || Ok(accepting.status().transpose()?))?;
        Ok(())
    }

    /// Close all connections; a peer that never does is not waited for for ever.
    fn close(&mut self) -> Result<(), CommandError> {
        let context = self.context.clone();
        let side = self.side()?;
        side.qps.iter().try_for_each(QueuePair::disconnect)?;
        let deadline = context.now() + CLOSING;
        let open = |qp: &QueuePair| matches!(qp.state(), QpState::Rts | QpState::Closing);
        while side.qps.iter().any(open) && context.now() < deadline {
            context.wait(Some(deadline))?;
        }
        Ok(())
    }

    /// Connect, and measure.
    fn measure(&mut self, args: &Args, size: u32, server: SocketAddrV4) -> Result<(), CommandError> {
        let (context, patience, how) = (self.context.clone(), self.patience.clone(), args.run.connection());
        self.side = Some(Side::new(&context, 0, args, size)?);
        let mut memory = None;
        for place in 0..args.qps as usize {
            let params = ConnectParams {
                private_data: plan(args, size),
                crc: how.crc,
                markers: how.markers,
                ..ConnectParams::default()
            };
            let connecting = self.side()?.qps[place].connect(server, params)?;
            let established = patience.wait_for(&context, || Ok(connecting.status().transpose()?))?;
            memory = named(&established.private_data);
        }
        let memory = memory.ok_or_else(|| failed("the server is not 'ironwarp perf'"))?;
        let peer = Peer::new(memory, size);
        let before = context.counters()?.get(Counter::Retransmits);
        let wall = Instant::now();
        while !self.side()?.send_more(args, size, &peer)? {
            self.wait()?;
            self.side()?.reap(size)?;
        }
        let wall_seconds = wall.elapsed().as_secs_f64();
        let retransmissions = context.counters()?.get(Counter::Retransmits) - before;
        let side = self.side()?;
        if args.op == Operation::Read {
            side.verify(size, 1)?;
        }
        self.close()?;
        let messages = args.iterations * u64::from(args.qps);
        let payload_bytes = messages * u64::from(size);
        let report = Report {
            op: format!("{:?}", args.op).to_lowercase(),
            engine: args.end.engine(&args.device, &args.run)?,
            size,
            messages,
            depth: args.depth,
            signal_every: args.signal_every(),
            post_list: args.post_list(),
            inline: args.is_inline(size),
            payload_bytes,
            wall_seconds,
            sim_seconds: wall_seconds,
            goodput_bps: payload_bytes as f64 * 8.0 / wall_seconds,
            link_bps: None,
            limit_bps: None,
            ratio_to_limit: None,
            messages_per_second: messages as f64 / wall_seconds,
            retransmissions,
            peak_rss_bytes: peak_rss_bytes(),
            config: None,
            simulation: None,
            sequencer: None,
            rtl: None,
        };
        if args.json {
            println!("{}", serde_json::to_string(&report).map_err(std::io::Error::other)?);
        } else {
            print(&report);
        }
        Ok(())
    }
}
