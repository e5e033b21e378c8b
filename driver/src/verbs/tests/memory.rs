//! Regions and windows.

use super::*;
use crate::error::Error;
use crate::verbs::SendRequest;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::CommandStatus;
use ironwarp_proto::pins::Dma;

#[test]
fn regions_are_written_and_revoked_before_their_memory_goes() {
    let world = World::idle();
    let rights = Access::LOCAL_WRITE | Access::REMOTE_READ;
    let region = world.pd.register(100, rights).unwrap();
    let (stag, addr) = (region.rkey(), region.addr());
    let entry = world.fake.region(stag);
    assert!(entry.valid && !entry.window && !entry.allocated);
    assert_eq!((entry.stag, entry.access, entry.length), (stag, 3, 100));
    assert_eq!((entry.base, entry.host), (addr, addr));
    region.write(98, b"ab").unwrap();
    let mut out = [0; 2];
    region.read(98, &mut out).unwrap();
    assert_eq!(&out, b"ab");
    assert_eq!(region.write(99, b"ab"), Err(Error::Range { offset: 99, len: 2, size: 100 }));
    assert!(region.sge(usize::MAX, 2).is_err() && region.sge(50, 50).is_ok());
    drop(region);
    assert_eq!(world.fake.commands(Command::Invalidate), [(0, stag)]);
    assert!(!world.fake.region(stag).valid);
    assert!(world.fake.memory.read(addr, &mut out).is_err());
}

#[test]
fn several_regions_may_share_a_buffer() {
    let world = World::idle();
    let buffer = world.fake.alloc(64).unwrap();
    let all = world.pd.register_buffer(buffer.clone(), Access::LOCAL_READ).unwrap();
    let part = world.pd.register_range(buffer, 16, 8, 0, Access::LOCAL_WRITE).unwrap();
    part.write(1, b"x").unwrap();
    let mut out = [0];
    all.read(17, &mut out).unwrap();
    assert_eq!(&out, b"x");
    assert_eq!((part.addr(), part.sge(1, 2).unwrap().to), (0, 1));
    let addr = all.addr();
    drop(all);
    assert!(world.fake.memory.read(addr, &mut out).is_ok());
}

#[test]
fn rights_are_checked() {
    let world = World::idle();
    for rights in [Access::REMOTE_WRITE, Access::REMOTE_ATOMIC | Access::REMOTE_READ] {
        assert!(matches!(world.pd.register(8, rights), Err(Error::Access(_))));
    }
    let window = world.pd.alloc_window().unwrap();
    let plain = world.pd.register(64, Access::LOCAL_WRITE).unwrap();
    let read_only = world.pd.register(64, Access::BIND).unwrap();
    let parent = world.pd.register(64, Access::LOCAL_WRITE | Access::BIND).unwrap();
    assert!(window.bind(&plain, 0, 8, Access::REMOTE_READ).is_err());
    assert!(window.bind(&read_only, 0, 8, Access::REMOTE_WRITE).is_err());
    assert!(window.bind(&parent, 0, 8, Access::LOCAL_WRITE).is_err());
    assert!(window.bind(&parent, 60, 8, Access::REMOTE_READ).is_err());
    assert!(window.bind(&parent, 56, 8, Access::REMOTE_WRITE).is_ok());
    let other = world.context.alloc_pd().unwrap().register(64, Access::BIND).unwrap();
    assert!(matches!(window.bind(&other, 0, 8, Access::REMOTE_READ), Err(Error::Mismatch(_))));
}

#[test]
fn a_window_has_a_new_stag_for_every_bind_and_keeps_its_regions() {
    let world = World::connected();
    let window = world.pd.alloc_window().unwrap();
    let entry = world.fake.region(window.rkey());
    assert!(entry.window && entry.allocated && !entry.valid);
    let parent = world.pd.register(64, Access::LOCAL_WRITE | Access::BIND).unwrap();
    let (parent_stag, addr) = (parent.lkey(), parent.addr());
    let first = window.bind(&parent, 8, 16, Access::REMOTE_READ).unwrap();
    let second = window.bind(&parent, 8, 16, Access::REMOTE_READ).unwrap().with_base(0);
    assert_ne!(first.rkey(), second.rkey());
    assert_eq!(first.rkey() >> 8, second.rkey() >> 8);
    assert_eq!((first.remote(1).to, second.remote(1).to), (addr + 9, 1));
    world.qp.post_send(&SendRequest::bind(1, first)).unwrap();
    drop(second);
    drop(parent);
    assert!(world.fake.region(parent_stag).valid, "a window was bound to it");
    drop(window);
    assert!(!world.fake.region(parent_stag).valid);
    let last: Vec<_> = world.fake.commands(Command::Invalidate);
    assert_eq!(last.last(), Some(&(0, parent_stag)), "the window goes first");
}

#[test]
fn fast_regions_get_rights_by_request() {
    let world = World::connected();
    let fast = world.pd.alloc_fast_region(100).unwrap();
    assert!(world.fake.region(fast.stag()).allocated);
    let register = fast.register(10, 50, Access::LOCAL_WRITE).unwrap();
    assert_eq!(register.stag(), fast.stag());
    assert_eq!(register.sge(1, 2).unwrap().to, fast.buffer().addr() + 11);
    assert!(register.sge(49, 2).is_err());
    assert_eq!(register.access, access::LOCAL_WRITE | access::INVALIDATE);
    let bindable = fast.register(0, 100, Access::BIND).unwrap();
    assert_eq!(bindable.access, access::BIND, "or windows could outlive it");
    assert!(fast.register(51, 50, Access::LOCAL_READ).is_err());
    world.qp.post_send(&SendRequest::fast_register(1, register)).unwrap();
}

#[test]
fn regions_run_out_and_memory_of_a_hung_device_is_kept() {
    let world = World::idle();
    let mut regions = Vec::new();
    let error = loop {
        match world.pd.register(8, Access::LOCAL_READ) {
            Ok(region) => regions.push(region),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Exhausted { what: "regions", limit: 16 });
    regions.pop();
    assert!(world.pd.register(8, Access::LOCAL_READ).is_ok());
    let addr = regions[0].addr();
    world.fake.set(|state| state.refuse = Some((Command::Invalidate, CommandStatus::BadState)));
    drop(regions);
    // Refused because it was invalid already: that is as good.
    assert!(world.fake.memory.read(addr, &mut [0]).is_err());
}
