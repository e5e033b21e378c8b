//! Registers, commands, table window and doorbells of one device.

use super::DeviceAttributes;
use crate::sync::lock;
use crate::transport::{DmaBuffer, Transport, TransportError};
use ironwarp_proto::abi::context::{self, QpState, StateWords};
use ironwarp_proto::abi::doorbell::Page;
use ironwarp_proto::abi::field::load;
use ironwarp_proto::abi::queue::{CqEntry, SrqEntry};
use ironwarp_proto::abi::region::{Region, index_of};
use ironwarp_proto::abi::regs::{self, Command, CommandStatus, ctrl, status, tcpcfg};
use ironwarp_proto::abi::window::{Table, address};
use ironwarp_proto::abi::{ABI_VERSION, DEVICE_ID};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::wire::eth::MacAddr;
use std::sync::{Arc, Mutex};
use thiserror::Error;

/// Reads of `CMD_STAT` after which a busy device is given up. Each is a round trip to the device, so this is
/// milliseconds at least and no clock is needed.
const BUSY_READS: u32 = 100_000;

/// Why a device could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HwError {
    /// The path to the device.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It is another device, or none.
    #[error("register ID is {0:#010x}, not \"IWRP\": not an Ironwarp device, or not powered")]
    NotIronwarp(u32),
    /// It speaks another major version of the ABI.
    #[error("the device speaks ABI {}.{}, this driver {}.x: update one of them", .0 >> 16, .0 & 0xffff, ABI_VERSION >> 16)]
    Version(u32),
    /// A register that describes the device makes no sense.
    #[error("register {register} reads {value:#010x}, which makes no sense")]
    BadRegister {
        /// Name.
        register: &'static str,
        /// Content.
        value: u32,
    },
    /// A command failed.
    #[error("command {command:?} of object {object} ended with {status:?}")]
    Command {
        /// Command.
        command: Command,
        /// Object number.
        object: u16,
        /// What the device said.
        status: CommandStatus,
    },
    /// A table access failed.
    #[error("access to {table:?} entry {object} ended with {status:?}")]
    Window {
        /// Table.
        table: Table,
        /// Entry.
        object: u16,
        /// What the device said.
        status: CommandStatus,
    },
    /// The device answered with a status that does not exist.
    #[error("CMD_STAT reads {0:#010x}, which is no status")]
    BadStatus(u32),
    /// The device stays busy.
    #[error("the device stays busy with {0}; reset it")]
    Hung(&'static str),
    /// A time cannot be put into the device's registers.
    #[error("{what} of {value} ns is not {range} ticks of {tick} ns; choose another value or tick")]
    Timing {
        /// Parameter.
        what: &'static str,
        /// What was asked for, ns.
        value: Nanos,
        /// What fits, ticks.
        range: &'static str,
        /// Tick, ns.
        tick: Nanos,
    },
}

/// Timing of the device's TCP (registers `TICK` and `TCPCFG`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTiming {
    /// Timer tick, ns.
    pub tick: Nanos,
    /// Minimum RTO, ns.
    pub min_rto: Nanos,
    /// Longest delay of an ACK, ns; 0 acknowledges at once.
    pub delayed_ack: Nanos,
    /// Initial congestion window, segments, 1..=15 (RFC 6928 recommends 10).
    pub initial_window: u8,
    /// Retransmissions of one segment before the connection is given up, 1..=15.
    pub retries: u8,
    /// Maximum RTO = minimum << this, at most 15.
    pub max_rto_shift: u8,
}

impl Default for TcpTiming {
    /// Ticks of 1 ms, RTO from 200 ms, ACKs delayed 40 ms at most, 10 segments, 8 retransmissions, RTO up to 51 s.
    fn default() -> Self {
        Self {
            tick: 1_000_000,
            min_rto: 200_000_000,
            delayed_ack: 40_000_000,
            initial_window: 10,
            retries: 8,
            max_rto_shift: 8,
        }
    }
}

impl TcpTiming {
    /// `TICK` and `TCPCFG` for a core clock of `clock_khz`.
    fn registers(&self, clock_khz: u32) -> Result<[u32; 2], HwError> {
        let wrong = |what, value, range| HwError::Timing { what, value, range, tick: self.tick };
        let cycles = u128::from(self.tick) * u128::from(clock_khz) / 1_000_000;
        let cycles = u32::try_from(cycles).ok().filter(|cycles| *cycles > 0);
        let cycles = cycles.ok_or(wrong("tick", self.tick, "1 to 2^32 cycles in"))?;
        let mut word = [0];
        let ticks = |time: Nanos| time.div_ceil(self.tick.max(1));
        let min_rto = ticks(self.min_rto);
        if !(1..=tcpcfg::MIN_RTO.max()).contains(&min_rto) {
            return Err(wrong("minimum RTO", self.min_rto, "1..=4095"));
        }
        let delayed_ack = ticks(self.delayed_ack);
        if delayed_ack > tcpcfg::DELAYED_ACK.max() {
            return Err(wrong("delayed ACK", self.delayed_ack, "0..=255"));
        }
        tcpcfg::MIN_RTO.set(&mut word, min_rto);
        tcpcfg::DELAYED_ACK.set(&mut word, delayed_ack);
        tcpcfg::INITIAL_WINDOW.set(&mut word, self.initial_window.clamp(1, 15));
        tcpcfg::RETRIES.set(&mut word, self.retries.clamp(1, 15));
        tcpcfg::MAX_RTO_SHIFT.set(&mut word, self.max_rto_shift.min(15));
        Ok([cycles, word[0]])
    }
}

/// One device. All methods may be called from any thread; sequences of register accesses that belong together
/// (a command and its status, a table entry) are not interleaved.
pub struct Hw {
    transport: Arc<dyn Transport>,
    attributes: DeviceAttributes,
    /// Held over a command or a table access.
    sequence: Mutex<()>,
}

impl Hw {
    /// Identify the device and reset it. Nothing moves before [`enable`](Self::enable).
    pub fn open(transport: Arc<dyn Transport>) -> Result<Self, HwError> {
        let id = transport.read32(regs::ID)?;
        if id != DEVICE_ID {
            return Err(HwError::NotIronwarp(id));
        }
        let version = transport.read32(regs::VERSION)?;
        if version >> 16 != ABI_VERSION >> 16 {
            return Err(HwError::Version(version));
        }
        let features = transport.read32(regs::FEATURES)?;
        let read = |register| transport.read32(register);
        let limits = [read(regs::LIMITS0)?, read(regs::LIMITS1)?, read(regs::LIMITS2)?];
        let doorbells = transport.read32(regs::DOORBELLS)?;
        let clock = transport.read32(regs::CLOCK)?;
        let attributes = DeviceAttributes::from_registers(version, features, limits, doorbells, clock)?;
        transport.write32(regs::CTRL, ctrl::SOFT_RESET)?;
        Ok(Self { transport, attributes, sequence: Mutex::new(()) })
    }

    /// Set the address and the timing of TCP.
    pub fn configure(&self, mac: MacAddr, timing: &TcpTiming) -> Result<(), HwError> {
        let [tick, tcp] = timing.registers(self.attributes.clock_khz)?;
        let [a, b, c, d, e, f] = mac.0;
        self.write(regs::MAC_LO, u32::from_le_bytes([a, b, c, d]))?;
        self.write(regs::MAC_HI, u32::from_le_bytes([e, f, 0, 0]))?;
        self.write(regs::TICK, tick)?;
        self.write(regs::TCPCFG, tcp)
    }

    /// Start a ring of `2^log2` entries whose base registers begin at `base` and whose log2 register is `log2_register`.
    pub fn start_ring(
        &self,
        base: u32,
        log2_register: u32,
        memory: &DmaBuffer,
        log2: u8,
    ) -> Result<(), HwError> {
        self.write(base, memory.addr() as u32)?;
        self.write(base + 4, (memory.addr() >> 32) as u32)?;
        self.write(log2_register, log2.into())
    }

    /// Enable interrupt, receiver and transmitter.
    pub fn enable(&self) -> Result<(), HwError> {
        self.write(regs::EQ_CTRL, 1)?;
        self.write(regs::CTRL, ctrl::RX_ENABLE | ctrl::TX_ENABLE)
    }

    /// Back to power-up state: the device touches no memory afterwards.
    pub fn soft_reset(&self) -> Result<(), HwError> {
        self.write(regs::CTRL, ctrl::SOFT_RESET)
    }

    /// What the device can do.
    pub fn attributes(&self) -> &DeviceAttributes {
        &self.attributes
    }
    /// The way to it.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }
    /// Read a register.
    pub fn read(&self, offset: u32) -> Result<u32, HwError> {
        Ok(self.transport.read32(offset)?)
    }
    /// Write a register.
    pub fn write(&self, offset: u32, value: u32) -> Result<(), HwError> {
        Ok(self.transport.write32(offset, value)?)
    }
    /// Ring doorbell `doorbell` of `page`.
    pub fn ring(&self, page: Page, doorbell: u32, value: u32) -> Result<(), HwError> {
        self.write(self.attributes.pages.offset(page, doorbell), value)
    }

    /// Whether events were lost since the last call.
    pub fn take_event_overflow(&self) -> Result<bool, HwError> {
        let lost = self.read(regs::STATUS)? & status::EQ_OVERFLOW != 0;
        if lost {
            self.write(regs::CTRL, ctrl::RX_ENABLE | ctrl::TX_ENABLE | ctrl::CLEAR_STICKY)?;
        }
        Ok(lost)
    }

    /// Status of the last command or table access, waiting while it is busy.
    fn status(&self, what: &'static str) -> Result<CommandStatus, HwError> {
        for _ in 0..BUSY_READS {
            let word = self.read(regs::CMD_STAT)?;
            if word >> 31 == 0 {
                return CommandStatus::from_code(word as u8).ok_or(HwError::BadStatus(word));
            }
        }
        Err(HwError::Hung(what))
    }

    /// Run a command and return its status.
    fn run(&self, command: Command, object: u16, argument: u32) -> Result<CommandStatus, HwError> {
        let _sequence = lock(&self.sequence);
        self.write(regs::CMD_ARG, argument)?;
        self.write(regs::CMD, u32::from(command as u8) | u32::from(object) << 8)?;
        self.status("a command")
    }

    /// Run a command that must succeed.
    pub fn command(&self, command: Command, object: u16, argument: u32) -> Result<(), HwError> {
        match self.run(command, object, argument)? {
            CommandStatus::Ok => Ok(()),
            status => Err(HwError::Command { command, object, status }),
        }
    }

    /// `GO`: whether the QP runs; `false` when more frames were diverted than `count`.
    pub fn go(&self, qp: u16, count: u16) -> Result<bool, HwError> {
        match self.run(Command::Go, qp, count.into())? {
            CommandStatus::Ok => Ok(true),
            CommandStatus::Again => Ok(false),
            status => Err(HwError::Command { command: Command::Go, object: qp, status }),
        }
    }

    /// Write words of a table entry from word `first` on.
    fn store(&self, table: Table, object: u16, first: u8, words: &[u32]) -> Result<(), HwError> {
        let _sequence = lock(&self.sequence);
        self.write(regs::WIN_ADDR, address(table, object, first))?;
        for word in words {
            self.write(regs::WIN_DATA, *word)?;
        }
        match self.status("a table access")? {
            CommandStatus::Ok => Ok(()),
            status => Err(HwError::Window { table, object, status }),
        }
    }

    /// Read a table entry.
    fn load<const N: usize>(&self, table: Table, object: u16) -> Result<[u32; N], HwError> {
        let _sequence = lock(&self.sequence);
        self.write(regs::WIN_ADDR, address(table, object, 0))?;
        let mut words = [0; N];
        for word in &mut words {
            *word = self.read(regs::WIN_DATA)?;
        }
        Ok(words)
    }

    /// Write the header template and the context of an inactive QP, and activate it.
    pub fn activate(
        &self,
        qp: u16,
        headers: &[u8; context::TEMPLATE_BYTES],
        context: &context::Context,
    ) -> Result<(), HwError> {
        self.store(Table::Template, qp, 0, &context::encode_template(headers))?;
        self.store(Table::Context, qp, 0, &context.encode())?;
        self.command(Command::Activate, qp, 0)
    }

    /// State of a QP.
    pub fn qp_state(&self, qp: u16) -> Result<StateWords, HwError> {
        Ok(StateWords::decode(&self.load(Table::State, qp)?))
    }

    /// `RESET` a QP in any state. On return the device no longer touches its memory.
    pub fn reset(&self, qp: u16) -> Result<(), HwError> {
        self.command(Command::Reset, qp, 0)
    }

    /// `QUIESCE` a QP; returns its state, which is [`QpState::Quiesced`] if it stopped at once.
    pub fn quiesce(&self, qp: u16) -> Result<StateWords, HwError> {
        if self.qp_state(qp)?.state != QpState::Quiesced {
            self.command(Command::Quiesce, qp, 0)?;
        }
        self.qp_state(qp)
    }

    /// The state that `QUIESCE` left in a save area, if it is there. The window may show nothing of the QP any more.
    pub fn quiesced_state(save: &DmaBuffer) -> Option<StateWords> {
        let mut bytes = [0; 4 * context::STATE_WORDS];
        let state = save.read(context::SAVE_STATE, &mut bytes).then(|| StateWords::decode(&load(&bytes)))?;
        (state.state == QpState::Quiesced).then_some(state)
    }

    /// Write a region entry, word 0 last.
    pub fn write_region(&self, region: &Region) -> Result<(), HwError> {
        let index = index_of(region.stag, self.attributes.mr_log2);
        let words = region.encode();
        self.store(Table::Region, index, 1, &words[1..])?;
        self.store(Table::Region, index, 0, &words[..1])
    }

    /// Revoke the entry that once had `stag`, and forget it: on return nothing with it is in flight. Returns the STag that it
    /// had last, which a bind or fast registration may have changed.
    pub fn revoke_region(&self, stag: u32) -> Result<u32, HwError> {
        let index = index_of(stag, self.attributes.mr_log2);
        let last = Region::decode(&self.load(Table::Region, index)?).stag;
        // The peer or a work request may have invalidated it already, so only a hung device is an error here.
        let status = self.run(Command::Invalidate, 0, last)?;
        tracing::trace!(last, ?status, "revoke");
        self.store(Table::Region, index, 0, &[0])?;
        Ok(last)
    }

    /// Start a completion queue.
    pub fn start_cq(&self, cq: u16, entry: &CqEntry) -> Result<(), HwError> {
        self.store(Table::Cq, cq, 0, &entry.encode())?;
        self.command(Command::StartCq, cq, 0)
    }

    /// Start a shared receive queue.
    pub fn start_srq(&self, srq: u16, entry: &SrqEntry) -> Result<(), HwError> {
        self.store(Table::Srq, srq, 0, &entry.encode())?;
        self.command(Command::StartSrq, srq, 0)
    }
}
