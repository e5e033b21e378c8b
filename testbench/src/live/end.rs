//! A NIC of our own beside a real peer, and one end of a connection on it.

use ironwarp_driver::cm::{
    AcceptParams, ConnectError, ConnectParams, Connecting, ConnectionRequest, Established, Listener,
};
use ironwarp_driver::verbs::{
    Access, CompletionQueue, Context, MemoryRegion, QpConfig, QpEvent, QpState, QueuePair, ReceiveRequest,
    RemoteAddress, SendRequest, WcOpcode, WcStatus, WorkCompletion,
};
use ironwarp_proto::wire::eth::MacAddr;
use ironwarp_sim::engine::Engine;
use ironwarp_sim::live::{Host, HostConfig};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Our address.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
/// The guest's address.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
/// Memory open to the peer, bytes: what `iwt` has too.
pub const REGION: usize = 1 << 20;
/// Size of a receive buffer, bytes, unless another is asked for.
pub const RECEIVE: usize = 4096;

/// Our NIC, played by `engine`, on the Ethernet `ether`. With `$IRONWARP_TEST_PCAP` it records all frames there, in a file a NIC.
///
/// # Panics
/// If it cannot be opened.
pub fn host(engine: Engine, ether: &str, mtu: u16) -> Host {
    let mac = MacAddr([2, 0x1a, 0xce, 0, 0, 1]);
    let config = HostConfig::new(ether.parse().expect("an Ethernet"), mac, OWN);
    let pcap = std::env::var_os("IRONWARP_TEST_PCAP").map(|directory| {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}.pcapng", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        std::path::Path::new(&directory).join(name)
    });
    Host::open(&HostConfig { engine, mtu, pcap, ..config }).expect("the socket can be opened")
}

/// Poll until there is something, for at most `limit`.
pub fn wait_for<T>(
    context: &Context,
    limit: Duration,
    what: &str,
    mut poll: impl FnMut() -> Option<T>,
) -> Result<T, String> {
    let deadline = context.now() + limit.as_nanos() as u64;
    context.wait_for(Some(deadline), || Ok(poll())).map_err(|error| format!("{what}: {error}"))
}

/// A queue pair, the memory that its peer may use, and receive buffers.
pub struct End {
    context: Context,
    cq: CompletionQueue,
    /// The queue pair.
    pub qp: QueuePair,
    /// Open to the peer.
    pub region: MemoryRegion,
    receives: MemoryRegion,
    receive_size: usize,
}

/// How long anything may take: the RTL is simulated, and other tests run beside.
pub const LIMIT: Duration = Duration::from_secs(10);

impl End {
    /// With `count` receives of `size` bytes posted.
    ///
    /// # Panics
    /// If the device has no room for it.
    pub fn new(context: &Context, count: usize, size: usize) -> Self {
        let pd = context.alloc_pd().expect("a protection domain");
        let cq = context.create_cq(512).expect("a completion queue");
        let rights = Access::LOCAL_WRITE | Access::REMOTE_READ | Access::REMOTE_WRITE;
        let region = pd.register(REGION, rights).expect("a region");
        let receives = pd.register((count * size).max(1), Access::LOCAL_WRITE).expect("a region");
        let qp = pd.create_qp(&QpConfig::new(&cq, &cq).depths(64, 64)).expect("a queue pair");
        let end = Self { context: context.clone(), cq, qp, region, receives, receive_size: size };
        for slot in 0..count {
            end.post_receive(slot);
        }
        end
    }

    /// # Panics
    /// If the queue is full.
    pub fn post_receive(&self, slot: usize) {
        let sge = self.receives.sge(slot * self.receive_size, self.receive_size).expect("inside");
        self.qp.post_receive(&ReceiveRequest::new(slot as u64, [sge])).expect("room in the queue");
    }

    /// What `iwt` wants to know: address, STag and length of the region.
    pub fn info(&self) -> Vec<u8> {
        let mut info = self.region.addr().to_be_bytes().to_vec();
        info.extend(self.region.rkey().to_be_bytes());
        info.extend((REGION as u32).to_be_bytes());
        info
    }

    /// Accept a request.
    pub fn accept(&self, request: ConnectionRequest) -> Result<Established, String> {
        let params = AcceptParams { private_data: self.info(), ..AcceptParams::default() };
        let accepting = request.accept(&self.qp, params).map_err(|error| format!("accept: {error}"))?;
        self.established(&accepting).map_err(|error| format!("accept: {error}"))
    }

    /// Connect to a port of the guest, whose program may not listen yet.
    pub fn connect(&self, port: u16, params: &ConnectParams) -> Result<Established, ConnectError> {
        let params = ConnectParams { private_data: self.info(), ..params.clone() };
        self.established(&self.qp.connect(SocketAddrV4::new(GUEST, port), params)?)
    }

    fn established(&self, connecting: &Connecting) -> Result<Established, ConnectError> {
        let deadline = self.context.now() + 2 * LIMIT.as_nanos() as u64;
        connecting.wait(Some(deadline))
    }

    /// The next completion.
    pub fn completion(&self) -> Result<WorkCompletion, String> {
        wait_for(&self.context, LIMIT, "no completion", || self.cq.poll())
    }

    /// The next completion, which must be a success of this kind.
    pub fn done(&self, opcode: WcOpcode) -> Result<WorkCompletion, String> {
        let completion = self.completion()?;
        let good = completion.status == WcStatus::Ok && completion.opcode == opcode;
        if good { Ok(completion) } else { Err(format!("not a successful {opcode:?}: {completion:?}")) }
    }

    /// The next message received; its buffer is posted again.
    pub fn message(&self) -> Result<Vec<u8>, String> {
        self.taken(self.done(WcOpcode::Receive)?)
    }

    /// The next message, if one is there. Sends that have completed are passed over.
    pub fn try_message(&self) -> Result<Option<Vec<u8>>, String> {
        while let Some(completion) = self.cq.poll() {
            match (completion.status, completion.opcode) {
                (WcStatus::Ok, WcOpcode::Receive) => return self.taken(completion).map(Some),
                (WcStatus::Ok | WcStatus::Flushed, _) => {}
                _ => return Err(format!("{completion:?}")),
            }
        }
        Ok(None)
    }

    /// What a receive has got.
    fn taken(&self, completion: WorkCompletion) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; completion.byte_len as usize];
        let slot = completion.wr_id as usize;
        self.receives.read(slot * self.receive_size, &mut bytes).map_err(|error| error.to_string())?;
        self.post_receive(slot);
        Ok(bytes)
    }

    /// Post a request.
    ///
    /// # Panics
    /// If it is refused.
    pub fn post(&self, request: &SendRequest) {
        self.qp.post_send(request).expect("the request is good");
    }

    /// Send the first `len` bytes of the region from `offset` on, and wait until they are acknowledged.
    pub fn send(&self, offset: usize, len: usize) -> Result<(), String> {
        self.post(&SendRequest::send(0, self.region.sge(offset, len).expect("inside")));
        self.done(WcOpcode::Send).map(|_| ())
    }

    /// Bytes of the region.
    ///
    /// # Panics
    /// If they are outside.
    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.region.read(offset, &mut bytes).expect("inside");
        bytes
    }

    /// The next event but that the connection is up.
    pub fn event(&self) -> Result<QpEvent, String> {
        let next = || self.qp.poll_event().filter(|event| *event != QpEvent::Established);
        wait_for(&self.context, LIMIT, "no event", next)
    }

    /// Close, and wait until the peer has closed too.
    pub fn close(&self) -> Result<(), String> {
        self.qp.disconnect().map_err(|error| error.to_string())?;
        self.closed()
    }

    /// Wait until the connection is gone.
    pub fn closed(&self) -> Result<(), String> {
        let gone = || (!matches!(self.qp.state(), QpState::Rts | QpState::Closing)).then_some(());
        wait_for(&self.context, LIMIT, "not closed", gone)
    }
}

/// The next request at a listener.
pub fn request(context: &Context, listener: &Listener) -> Result<ConnectionRequest, String> {
    wait_for(context, 2 * LIMIT, "no request", || listener.poll())
}

/// Address and STag that `iwt` has put into its private data.
///
/// # Panics
/// If they are not there.
pub fn advertised(private_data: &[u8]) -> RemoteAddress {
    let word = |at: usize| u32::from_be_bytes(private_data[at..at + 4].try_into().expect("four bytes"));
    RemoteAddress { to: u64::from(word(0)) << 32 | u64::from(word(4)), stag: word(8) }
}

/// What `iwt` has in its memory.
pub fn iwt_pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| b"0123456789abcdef"[(i * 7 + i / 16) & 15]).collect()
}
