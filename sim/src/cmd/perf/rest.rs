//! Single messages, each sent when everything is at rest: their latency is the device's own, and not that of what it was
//! still busy with. Under load the doorbell of the next message meets the acknowledgment of the one before, and the doorbell
//! of its completion.

use super::{Bench, Operation, Side, rtl, slot};
use crate::cmd::options::CommandError;
use crate::lab::Lab;
use ironwarp_driver::transport::Wait;
use ironwarp_proto::pins::Nanos;

/// Messages of each sender, if the transfer had as many.
const MESSAGES: u64 = 64;
/// Simulated time in which all comes to rest, nanoseconds: longer than an acknowledgment is delayed (40 ms), and too short for
/// TCP to begin slowly again (200 ms).
const REST: Nanos = 50_000_000;
/// What no message contains, in memory that one is to overwrite.
const BLANK: u8 = 0xff;

impl Bench<'_> {
    /// Send single messages on the first queue pair, each verified; with two senders, in turns. The devices are watched anew
    /// from the first of them on.
    pub fn send_at_rest(&mut self, lab: &Lab) -> Result<(), CommandError> {
        self.come_to_rest(lab)?;
        lab.watches.iter().for_each(rtl::start);
        for _ in 0..self.args.iterations.min(MESSAGES) {
            self.sides.iter().try_for_each(|side| side.blank(self.size))?;
            for sender in 0..self.senders() {
                self.send_one(lab, sender)?;
            }
            self.verify()?;
        }
        Ok(())
    }

    /// One message, from rest to rest.
    fn send_one(&mut self, lab: &Lab, sender: usize) -> Result<(), CommandError> {
        let peer = &self.peers()?[sender];
        let side = &mut self.sides[sender];
        let number = side.posted[0];
        let request = side.request(self.args, self.size, number, peer)?;
        side.qps[0].post_send(&request)?;
        side.posted[0] += 1;
        let is_send = self.args.op == Operation::Send;
        let received = self.sides[1 - sender].received + u64::from(is_send);
        self.until(
            lab,
            |sides| Ok(sides[sender].done[0] > number && sides[1 - sender].received == received),
        )?;
        self.come_to_rest(lab)
    }

    /// Let time pass until a while has brought no completion.
    fn come_to_rest(&mut self, lab: &Lab) -> Result<(), CommandError> {
        loop {
            let end = lab.hosts[0].now() + REST;
            while lab.hosts[0].wait(Some(end))? == Wait::Progress {}
            if !self.reap()? {
                return Ok(());
            }
        }
    }
}

impl Side {
    /// Make the next message's bytes differ from what is there.
    fn blank(&self, size: u32) -> Result<(), CommandError> {
        Ok(self.region.write(slot(size), &vec![BLANK; size as usize])?)
    }
}
