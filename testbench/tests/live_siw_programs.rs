//! Programs of rdma-core and perftest on Linux's siw, each as it is, against a NIC of ours that says what the same program would.

use ironwarp_driver::cm::{ConnectError, ConnectParams};
use ironwarp_driver::net::CloseReason;
use ironwarp_driver::verbs::{Context, QpState, SendRequest, WcOpcode};
use ironwarp_testbench::live::end::{End, LIMIT, host, request};
use ironwarp_testbench::live::siw::{self, Guest};
use ironwarp_testbench::live::with_retries;
use std::time::Duration;

const SCRIPT: Duration = Duration::from_secs(40);
const TRIES: u32 = 3;
/// Port of the examples of librdmacm, and of perftest.
const PORT: u16 = 7471;
const PERFTEST: u16 = 18515;

/// Connect to a server that may not listen yet.
fn connect(context: &Context, end: &End, port: u16) -> Result<(), String> {
    let deadline = context.now() + LIMIT.as_nanos() as u64;
    loop {
        match end.connect(port, &ConnectParams::default()) {
            Err(ConnectError::Tcp(CloseReason::Refused)) if context.now() < deadline => {}
            other => return other.map(|_| ()).map_err(|error| error.to_string()),
        }
    }
}

/// `count` messages of `len` bytes from us, while as many come from the peer.
fn exchange(end: &End, count: usize, len: usize) -> Result<(), String> {
    for n in 0..count {
        end.post(&SendRequest::send(n as u64, end.region.sge(0, len).unwrap()));
    }
    let (mut sent, mut received) = (0, 0);
    while sent < count || received < count {
        let completion = end.completion()?;
        match completion.opcode {
            WcOpcode::Send => sent += 1,
            WcOpcode::Receive if completion.byte_len as usize == len => received += 1,
            _ => return Err(format!("{completion:?}")),
        }
    }
    Ok(())
}

#[test]
fn the_clients_of_rdma_core_find_their_servers() {
    let Some(tool) = siw::find("the_clients_of_rdma_core_find_their_servers") else { return };
    // A responder of ours sends nothing before the initiator's first FPDU (RFC 5044), and ucmatose's client waits for the
    // server's first message: it needs an RTR.
    for parameters in [&["mpa_crc_required=1", "peer_to_peer=1"][..], &["peer_to_peer=1"]] {
        let script =
            "timeout 15 rdma_client -s 10.7.0.1 -p 7471 && timeout 15 ucmatose -s 10.7.0.1 -C 10 -S 100";
        let mut peer = Guest { siw: parameters, script, ..Guest::default() }.boot(&tool);
        let host = host(&peer.ether(), 1500);
        let listener = host.context.listen(PORT, 4).unwrap();
        peer.ready().unwrap();
        // rdma_client sends 16 bytes and waits for 16.
        let end = End::new(&host.context, 2, 16);
        end.accept(request(&host.context, &listener).unwrap()).unwrap();
        assert_eq!(end.message().unwrap().len(), 16);
        end.send(0, 16).unwrap();
        end.close().unwrap();
        // ucmatose sends as many messages as it receives.
        let end = End::new(&host.context, 16, 100);
        end.accept(request(&host.context, &listener).unwrap()).unwrap();
        exchange(&end, 10, 100).unwrap();
        end.close().unwrap();
        let said = peer.succeed(SCRIPT).unwrap().join("\n");
        assert!(said.contains("rdma_client: end 0") && said.contains("return status 0"), "{said}");
    }
}

#[test]
fn the_servers_of_rdma_core_serve_us() {
    let Some(tool) = siw::find("the_servers_of_rdma_core_serve_us") else { return };
    let script = "(while :; do rdma_server -p 7473; done) & while :; do ucmatose -C 10 -S 100; done";
    let mut peer = Guest { siw: &["mpa_crc_required=1"], script, ready_port: Some(PORT), ..Guest::default() }
        .boot(&tool);
    let host = host(&peer.ether(), 1500);
    peer.ready().unwrap();
    with_retries("rdma_server", TRIES, || {
        let end = End::new(&host.context, 2, 16);
        connect(&host.context, &end, 7473)?;
        end.send(0, 16)?;
        assert_eq!(end.message()?.len(), 16);
        end.close()
    });
    with_retries("ucmatose", TRIES, || {
        let end = End::new(&host.context, 16, 100);
        connect(&host.context, &end, PORT)?;
        exchange(&end, 10, 100)?;
        end.close()
    });
    peer.wait_line("rdma_server: end 0", SCRIPT).unwrap();
    peer.wait_line("return status 0", SCRIPT).unwrap();
}

/// Length of the message in which perftest names its memory: LID, reads, QPN, PSN, STag, padding, address, GID, SRQN and GID index.
const DESTINATION: usize = 56;
const STAG_AT: usize = 16;
const ADDRESS_AT: usize = 24;

/// What perftest's server does with `-R`: over a first connection everything that the client says comes back, with our memory in
/// place of its own; over a second one the client does its work on our memory.
fn serve_perftest(context: &Context) -> Result<End, String> {
    let listener = context.listen(PERFTEST, 4).map_err(|error| error.to_string())?;
    let talk = End::new(context, 8, 256);
    talk.accept(request(context, &listener)?)?;
    let mut data: Option<End> = None;
    let mut results = false;
    let deadline = context.now() + 4 * LIMIT.as_nanos() as u64;
    loop {
        if context.now() > deadline {
            return Err("perftest has not come to an end".into());
        }
        if data.is_none()
            && let Some(request) = listener.poll()
        {
            let end = End::new(context, 0, 0);
            end.accept(request)?;
            data = Some(end);
        }
        if talk.qp.state() != QpState::Rts {
            talk.closed()?;
            return data.ok_or_else(|| "no second connection came".into());
        }
        let Some(mut message) = talk.try_message()? else {
            context.wait(Some(context.now() + 10_000_000)).map_err(|error| error.to_string())?;
            continue;
        };
        if message.len() == DESTINATION {
            let memory = data.as_ref().unwrap_or(&talk);
            message[STAG_AT..STAG_AT + 4].copy_from_slice(&memory.region.rkey().to_be_bytes());
            message[ADDRESS_AT..ADDRESS_AT + 8].copy_from_slice(&memory.region.addr().to_be_bytes());
        }
        talk.region.write(0, &message).map_err(|error| error.to_string())?;
        talk.post(&SendRequest::send(0, talk.region.sge(0, message.len()).expect("inside")));
        // Behind the exchange of results comes one more destination, and then the server closes the second connection.
        results |= message.len() == 8;
        if results && message.len() == DESTINATION {
            let data = data.as_ref().ok_or("results without a second connection")?;
            data.qp.disconnect().map_err(|error| error.to_string())?;
        }
    }
}

#[test]
fn perftest_measures_us() {
    let Some(tool) = siw::find("perftest_measures_us") else { return };
    // Not ib_send_bw: its server grants credits by Writes, which this one does not.
    for program in ["ib_write_bw", "ib_read_bw"] {
        with_retries(program, TRIES, || {
            let script = format!("timeout 20 {program} -R -n 20 -t 8 -s 4096 -F 10.7.0.1");
            let mut peer =
                Guest { siw: &["mpa_crc_required=1"], script: &script, ..Guest::default() }.boot(&tool);
            let host = host(&peer.ether(), 1500);
            peer.ready()?;
            let _end = serve_perftest(&host.context)?;
            let said = peer.succeed(SCRIPT)?.join("\n");
            assert!(said.contains("#bytes") && said.contains(" 4096 "), "{said}");
            Ok(())
        });
    }
}
