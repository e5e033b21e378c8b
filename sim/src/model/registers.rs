//! The register file, the window, commands and doorbells.

use super::Model;
use super::config::{ModelConfig, TCPCFG_RESET, Timing};
use super::qp::Qp;
use ironwarp_proto::abi::context::{
    Context, MSS_RANGE, MULPDU_RANGE, QpState, SAVE_STATE, StateWords, decode_template,
};
use ironwarp_proto::abi::doorbell::{self, Page, Pages};
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::field::bytes_of;
use ironwarp_proto::abi::regs::{self, Command, CommandStatus, ctrl, status};
use ironwarp_proto::abi::window::{self, Table};
use ironwarp_proto::abi::{ABI_VERSION, DEVICE_ID};
use ironwarp_proto::wire::eth::MacAddr;

/// Plain register values.
pub(super) struct Registers {
    pub(super) ctrl: u32,
    mac: [u32; 2],
    tick: u32,
    tcpcfg: u32,
    command: u32,
    command_status: u32,
    argument: u32,
    window: u32,
    pages: Pages,
}

impl Registers {
    pub(super) fn new(config: &ModelConfig) -> Self {
        Self {
            ctrl: 0,
            mac: [0; 2],
            tick: config.clock_khz,
            tcpcfg: TCPCFG_RESET,
            command: 0,
            command_status: 0,
            argument: 0,
            window: 0,
            pages: config.pages(),
        }
    }

    pub(super) fn mac(&self) -> MacAddr {
        let [lo, hi] = self.mac.map(u32::to_le_bytes);
        MacAddr([lo[0], lo[1], lo[2], lo[3], hi[0], hi[1]])
    }
}

fn set_lo(base: &mut u64, value: u32) {
    *base = *base >> 32 << 32 | u64::from(value);
}

fn set_hi(base: &mut u64, value: u32) {
    *base = *base & 0xffff_ffff | u64::from(value) << 32;
}

impl Model {
    pub(super) fn read_register(&mut self, offset: u32) -> u32 {
        let (config, host, r) = (&self.config, &self.core.host, &self.registers);
        match offset {
            regs::ID => DEVICE_ID,
            regs::VERSION => ABI_VERSION,
            regs::FEATURES => config.features,
            regs::LIMITS0 => {
                u32::from_le_bytes([config.log2_qps, config.log2_regions, config.log2_cqs, config.log2_srqs])
            }
            regs::LIMITS1 => {
                use ironwarp_proto::abi::send_entry::{INLINE_MAX, SGES_MAX};
                u32::from_le_bytes([config.ird, config.ord, SGES_MAX as u8, INLINE_MAX as u8])
            }
            regs::LIMITS2 => u32::from(config.mss) | u32::from(config.window) << 16,
            regs::CTRL => r.ctrl,
            regs::STATUS => {
                let idle = self.ready.is_empty() && self.raw.is_empty();
                let bits = [
                    (true, status::LINK),
                    (host.dma_fault, status::DMA_FAULT),
                    (host.events.overflow, status::EQ_OVERFLOW),
                    (idle, status::TX_IDLE),
                ];
                bits.iter().filter(|(set, _)| *set).fold(0, |sum, (_, bit)| sum | bit)
            }
            regs::CLOCK => config.clock_khz,
            regs::MAC_LO => r.mac[0],
            regs::MAC_HI => r.mac[1],
            regs::TICK => r.tick,
            regs::TCPCFG => r.tcpcfg,
            regs::DOORBELLS => r.pages.register(),
            regs::EQ_BASE_LO => host.events.ring.base as u32,
            regs::EQ_BASE_HI => (host.events.ring.base >> 32) as u32,
            regs::EQ_LOG2 => u32::from(host.events.ring.log2),
            regs::EQ_CONSUMER => u32::from(host.events.ring.consumer),
            regs::EQ_CTRL => u32::from(host.events.enabled),
            regs::EQ_COALESCE => host.events.coalesce,
            regs::RAWRX_BASE_LO => host.raw_rx.base as u32,
            regs::RAWRX_BASE_HI => (host.raw_rx.base >> 32) as u32,
            regs::RAWRX_LOG2 => u32::from(host.raw_rx.log2),
            regs::RAWRX_CONSUMER => u32::from(host.raw_rx.consumer),
            regs::RAWTX_BASE_LO => host.raw_tx.base as u32,
            regs::RAWTX_BASE_HI => (host.raw_tx.base >> 32) as u32,
            regs::RAWTX_LOG2 => u32::from(host.raw_tx.log2),
            regs::RAWTX_PRODUCER => u32::from(host.raw_tx.consumer),
            regs::CMD => r.command,
            regs::CMD_STAT => r.command_status,
            regs::CMD_ARG => r.argument,
            regs::WIN_ADDR => r.window,
            regs::WIN_DATA => self.read_window(),
            regs::COUNTERS..0x180 => host.counter((offset - regs::COUNTERS) as usize / 4),
            _ => 0,
        }
    }

    pub(super) fn write_register(&mut self, offset: u32, value: u32) {
        let host = &mut self.core.host;
        match offset {
            regs::CTRL => self.write_ctrl(value),
            regs::MAC_LO => self.registers.mac[0] = value,
            regs::MAC_HI => self.registers.mac[1] = value & 0xffff,
            regs::TICK => {
                self.registers.tick = value;
                self.update_timing();
            }
            regs::TCPCFG => {
                self.registers.tcpcfg = value;
                self.update_timing();
            }
            regs::EQ_BASE_LO => set_lo(&mut host.events.ring.base, value),
            regs::EQ_BASE_HI => set_hi(&mut host.events.ring.base, value),
            regs::EQ_LOG2 => host.start_events(value as u8),
            regs::EQ_CONSUMER => host.consume_events(value as u16),
            regs::EQ_CTRL => host.events.enabled = value & 1 != 0,
            regs::EQ_COALESCE => host.events.coalesce = value,
            regs::RAWRX_BASE_LO => set_lo(&mut host.raw_rx.base, value),
            regs::RAWRX_BASE_HI => set_hi(&mut host.raw_rx.base, value),
            regs::RAWRX_LOG2 => host.raw_rx.start(value as u8),
            regs::RAWRX_CONSUMER => {
                host.raw_rx.consume(value as u16);
            }
            regs::RAWTX_BASE_LO => set_lo(&mut host.raw_tx.base, value),
            regs::RAWTX_BASE_HI => set_hi(&mut host.raw_tx.base, value),
            regs::RAWTX_LOG2 => host.raw_tx.start(value as u8),
            regs::RAWTX_PRODUCER => {
                if host.raw_tx.running {
                    host.raw_tx.produce(value as u16);
                    self.drain_raw_tx();
                }
            }
            regs::CMD => {
                self.registers.command = value;
                let status = self.command(value);
                self.registers.command_status = status as u32;
            }
            regs::CMD_ARG => self.registers.argument = value,
            regs::WIN_ADDR => self.registers.window = value,
            regs::WIN_DATA => {
                let status = self.write_window(value);
                self.registers.command_status = status as u32;
            }
            _ => self.ring_doorbell(offset, value),
        }
    }

    fn write_ctrl(&mut self, value: u32) {
        if value & ctrl::SOFT_RESET != 0 {
            self.reset();
            return;
        }
        if value & ctrl::CLEAR_STICKY != 0 {
            self.core.host.dma_fault = false;
            self.core.host.events.overflow = false;
        }
        self.registers.ctrl =
            value & (ctrl::RX_ENABLE | ctrl::TX_ENABLE | ctrl::PROMISCUOUS | ctrl::NO_PREDICTION);
    }

    fn update_timing(&mut self) {
        let r = &self.registers;
        self.core.timing = Timing::from_registers(self.config.clock_khz, r.tick, r.tcpcfg);
        self.core.host.tick = self.core.timing.tick;
    }

    fn ring_doorbell(&mut self, offset: u32, value: u32) {
        let Some((page, doorbell)) = self.registers.pages.decode(offset) else { return };
        match page {
            Page::Qp(number) => {
                if let Some(qp) = self.slots[usize::from(number)].qp.as_mut() {
                    qp.ring(&mut self.core, doorbell, value);
                    self.wake(number);
                }
            }
            Page::Cq(number) => match doorbell {
                doorbell::cq::CONSUMER => self.core.cqs.consume(&mut self.core.host, number, value as u16),
                doorbell::cq::ARM => self.core.cqs.arm(&mut self.core.host, number, value),
                _ => {}
            },
            Page::Srq(number) => {
                let Some(srq) = self.core.srqs.get_mut(usize::from(number)) else { return };
                match doorbell {
                    doorbell::srq::PRODUCER => srq.post(value as u16),
                    doorbell::srq::LIMIT => srq.set_limit(&mut self.core.host, number, value as u16),
                    _ => {}
                }
            }
        }
    }

    fn command(&mut self, value: u32) -> CommandStatus {
        let Some(command) = Command::from_code(value as u8) else { return CommandStatus::BadObject };
        let object = (value >> 8) as u16;
        match command {
            Command::Activate => self.activate(object),
            Command::Go => self.with_qp(object, |qp, argument| {
                if qp.state() != QpState::Activated {
                    CommandStatus::BadState
                } else if qp.go(argument as u16) {
                    CommandStatus::Ok
                } else {
                    CommandStatus::Again
                }
            }),
            Command::Quiesce => self.quiesce(object),
            Command::Reset => match self.slots.get_mut(usize::from(object)) {
                Some(slot) => {
                    if let Some(qp) = slot.qp.take() {
                        self.forget(&qp, object);
                    }
                    CommandStatus::Ok
                }
                None => CommandStatus::BadObject,
            },
            Command::Modify => self.with_qp(object, |qp, argument| {
                let (mss, mulpdu) = (argument as u16, (argument >> 16) as u16);
                if !MSS_RANGE.contains(&mss) || !MULPDU_RANGE.contains(&mulpdu) {
                    return CommandStatus::BadContent;
                }
                qp.modify(mss, mulpdu);
                CommandStatus::Ok
            }),
            Command::Invalidate => {
                let known = self.core.regions.revoke(self.registers.argument);
                if known { CommandStatus::Ok } else { CommandStatus::BadObject }
            }
            Command::StartCq => match self.core.cqs.get_mut(object) {
                Some(cq) if cq.is_running() => CommandStatus::BadState,
                Some(cq) => {
                    if cq.start() {
                        CommandStatus::Ok
                    } else {
                        CommandStatus::BadContent
                    }
                }
                None => CommandStatus::BadObject,
            },
            Command::StopCq => match self.core.cqs.get_mut(object) {
                Some(cq) => {
                    cq.stop();
                    CommandStatus::Ok
                }
                None => CommandStatus::BadObject,
            },
            Command::StartSrq => match self.core.srqs.get_mut(usize::from(object)) {
                Some(srq) if srq.is_running() => CommandStatus::BadState,
                Some(srq) => {
                    if srq.start() {
                        CommandStatus::Ok
                    } else {
                        CommandStatus::BadContent
                    }
                }
                None => CommandStatus::BadObject,
            },
            Command::StopSrq => match self.core.srqs.get_mut(usize::from(object)) {
                Some(srq) => {
                    srq.stop();
                    CommandStatus::Ok
                }
                None => CommandStatus::BadObject,
            },
        }
    }

    /// Run a command on an active QP with the argument register, and give it a turn at the transmitter.
    fn with_qp(&mut self, number: u16, run: impl FnOnce(&mut Qp, u32) -> CommandStatus) -> CommandStatus {
        let argument = self.registers.argument;
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return CommandStatus::BadObject };
        let Some(qp) = slot.qp.as_mut() else { return CommandStatus::BadState };
        let status = run(qp, argument);
        self.wake(number);
        status
    }

    fn activate(&mut self, number: u16) -> CommandStatus {
        let Some(slot) = self.slots.get(usize::from(number)) else { return CommandStatus::BadObject };
        if slot.qp.is_some() {
            return CommandStatus::BadState;
        }
        let Some(context) = Context::decode(&slot.context) else { return CommandStatus::BadContent };
        let rdma = context.mode == ironwarp_proto::abi::context::Mode::Rdma;
        let queues = self.core.cqs.is_usable(context.scq) && self.core.cqs.is_usable(context.rcq);
        let shared = |srq: u16| self.core.srqs.get(usize::from(srq)).is_some_and(|srq| srq.is_running());
        let depths = context.ird <= self.config.ird && context.ord <= self.config.ord;
        if rdma && !(queues && depths && context.srq.is_none_or(shared)) {
            return CommandStatus::BadContent;
        }
        // What was offered before the hand-over must fit the ring, which is all there is to put it in.
        let offered = context.rcv_adv.wrapping_sub(context.rcv_nxt) as i32;
        if !rdma && i64::from(offered) > 1 << context.rq_log2 {
            return CommandStatus::BadContent;
        }
        let qp = Qp::new(number, &context, decode_template(&slot.template), &self.core);
        if self.lookup.contains_key(&qp.tuple()) {
            return CommandStatus::BadContent;
        }
        self.lookup.insert(qp.tuple(), number);
        self.slots[usize::from(number)].qp = Some(Box::new(qp));
        CommandStatus::Ok
    }

    fn quiesce(&mut self, number: u16) -> CommandStatus {
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return CommandStatus::BadObject };
        let Some(qp) = slot.qp.take() else { return CommandStatus::BadState };
        let words = StateWords { state: QpState::Quiesced, ..qp.words() };
        let saved =
            self.core.host.write(qp.save_area().wrapping_add(SAVE_STATE as u64), &bytes_of(&words.encode()));
        self.forget(&qp, number);
        self.core.host.event(EventKind::Quiesced, u8::from(saved.is_err()), number, [0; 2]);
        CommandStatus::Ok
    }

    fn forget(&mut self, qp: &Qp, number: u16) {
        if self.lookup.get(&qp.tuple()) == Some(&number) {
            self.lookup.remove(&qp.tuple());
        }
    }

    /// The table, object and word that the window shows; it moves on.
    fn next_window_word(&mut self) -> (Option<Table>, u16, usize) {
        let (table, object, word) = window::split(self.registers.window);
        self.registers.window = self.registers.window & !0xff | u32::from(word.wrapping_add(1));
        (Table::from_code(table), object, usize::from(word))
    }

    fn read_window(&mut self) -> u32 {
        let (table, object, word) = self.next_window_word();
        let slot = self.slots.get(usize::from(object));
        let value = match table {
            Some(Table::Context) => slot.and_then(|slot| slot.context.get(word).copied()),
            Some(Table::Template) => slot.and_then(|slot| slot.template.get(word).copied()),
            Some(Table::Region) => self.core.regions.words(object).and_then(|words| words.get(word).copied()),
            Some(Table::Cq) => self.core.cqs.get_mut(object).and_then(|cq| cq.words.get(word).copied()),
            Some(Table::Srq) => {
                self.core.srqs.get(usize::from(object)).and_then(|srq| srq.words.get(word).copied())
            }
            Some(Table::State) => slot.and_then(|slot| {
                let words = slot.qp.as_ref().map(|qp| qp.words()).unwrap_or_default();
                words.encode().get(word).copied()
            }),
            None => None,
        };
        value.unwrap_or(0)
    }

    fn write_window(&mut self, value: u32) -> CommandStatus {
        let (table, object, word) = self.next_window_word();
        let slot = self.slots.get_mut(usize::from(object));
        let (target, busy) = match table {
            Some(Table::Context) => match slot {
                Some(slot) => (slot.context.get_mut(word), slot.qp.is_some()),
                None => return CommandStatus::BadObject,
            },
            Some(Table::Template) => match slot {
                Some(slot) => (slot.template.get_mut(word), slot.qp.is_some()),
                None => return CommandStatus::BadObject,
            },
            Some(Table::Region) => match self.core.regions.words(object) {
                Some(words) => {
                    let busy = words[0] & 1 != 0 && word != 0;
                    (words.get_mut(word), busy)
                }
                None => return CommandStatus::BadObject,
            },
            Some(Table::Cq) => match self.core.cqs.get_mut(object) {
                Some(cq) => {
                    let busy = cq.is_running();
                    (cq.words.get_mut(word), busy)
                }
                None => return CommandStatus::BadObject,
            },
            Some(Table::Srq) => match self.core.srqs.get_mut(usize::from(object)) {
                Some(srq) => {
                    let busy = srq.is_running();
                    (srq.words.get_mut(word), busy)
                }
                None => return CommandStatus::BadObject,
            },
            Some(Table::State) | None => return CommandStatus::BadObject,
        };
        match target {
            _ if busy => CommandStatus::Busy,
            Some(target) => {
                *target = value;
                CommandStatus::Ok
            }
            None => CommandStatus::BadObject,
        }
    }
}
