//! Services of `ironwarp nic`, over two golden models.

use ironwarp_driver::stream::TcpStream;
use ironwarp_sim::engine::Engine;
use ironwarp_sim::lab::{Lab, LabConfig, address};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::model::ModelConfig;
use ironwarp_sim::serve::Server;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddrV4;

#[test]
fn a_conversation_that_stands_still_is_cut_off_by_a_reset() {
    let device = ModelConfig::default();
    let link = LinkConfig::default();
    let lab =
        Lab::new(&LabConfig { link, mtu: 1500, seed: 1, engine: Engine::Model, device, waves: None }, None)
            .unwrap();
    let mut server = Server::start(&lab.hosts[1], &"echo:7".parse().unwrap()).unwrap();
    let mut client = TcpStream::connect(&lab.hosts[0], SocketAddrV4::new(address(1), 7)).unwrap();
    client.set_nonblocking(true);
    client.write_all(b"hello").unwrap();
    let (mut echoed, mut buffer) = (Vec::new(), [0; 64]);
    let end = loop {
        let now = lab.hosts[1].now();
        assert!(now < 100_000_000_000, "nothing happens for 100 s");
        server.poll(now);
        match client.read(&mut buffer) {
            Ok(0) => break None,
            Ok(count) => echoed.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                lab.hosts[1].wait(Some(now + 100_000_000)).unwrap();
            }
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!((echoed.as_slice(), end), (b"hello".as_slice(), Some(ErrorKind::ConnectionReset)));
    assert_eq!((server.stats().failed, server.open()), (1, 0));
}
