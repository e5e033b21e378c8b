//! Programs of rdma-core and perftest on Linux's siw, each as it is, against a NIC of ours that says what the same program would.

use ironwarp_driver::cm::{ConnectError, ConnectParams};
use ironwarp_driver::net::CloseReason;
use ironwarp_driver::verbs::{Context, SendRequest, WcOpcode};
use ironwarp_testbench::live::end::{End, LIMIT, host, request};
use ironwarp_testbench::live::engine::Engine;
use ironwarp_testbench::live::perftest::{self, Program, Work};
use ironwarp_testbench::live::siw::{self, Guest};
use ironwarp_testbench::live::with_retries;
use ironwarp_testbench::on_model_and_rtl;
use std::time::Duration;

on_model_and_rtl!(
    the_clients_of_rdma_core_find_their_servers,
    the_servers_of_rdma_core_serve_us,
    perftest_measures_us,
    we_measure_perftests_servers,
);

const SCRIPT: Duration = Duration::from_secs(40);
const TRIES: u32 = 3;
/// Port of the examples of librdmacm.
const PORT: u16 = 7471;
const PROGRAMS: [Program; 3] = [Program::Send, Program::Write, Program::Read];

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

fn the_clients_of_rdma_core_find_their_servers(engine: Engine) {
    let Some(tool) = siw::find("the_clients_of_rdma_core_find_their_servers") else { return };
    // A responder of ours sends nothing before the initiator's first FPDU (RFC 5044), and ucmatose's client waits for the
    // server's first message: it needs an RTR.
    for parameters in [&["mpa_crc_required=1", "peer_to_peer=1"][..], &["peer_to_peer=1"]] {
        let script =
            "timeout 15 rdma_client -s 10.7.0.1 -p 7471 && timeout 15 ucmatose -s 10.7.0.1 -C 10 -S 100";
        let mut peer = Guest { siw: parameters, script, ..Guest::default() }.boot(&tool);
        let host = host(engine, &peer.ether(), 1500);
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

fn the_servers_of_rdma_core_serve_us(engine: Engine) {
    let Some(tool) = siw::find("the_servers_of_rdma_core_serve_us") else { return };
    let script = "(while :; do rdma_server -p 7473; done) & while :; do ucmatose -C 10 -S 100; done";
    let mut peer = Guest { siw: &["mpa_crc_required=1"], script, ready_port: Some(PORT), ..Guest::default() }
        .boot(&tool);
    let host = host(engine, &peer.ether(), 1500);
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

/// Enough Sends that the server's receives are used up several times.
fn work(program: Program) -> Work {
    Work { program, count: 60, len: 4096, receives: 16 }
}

/// The line of the table in which a program reports sizes and messages.
fn reported(said: &[String]) -> bool {
    said.iter().any(|line| line.trim_start_matches("siw|").split_whitespace().take(2).eq(["4096", "60"]))
}

/// How a program is started, on either side.
fn words(program: Program) -> String {
    let Work { count, len, receives, .. } = work(program);
    let receives = if program == Program::Send { format!("-r {receives} ") } else { String::new() };
    format!("{} -R -n {count} -t 8 {receives}-s {len} -F", program.name())
}

fn perftest_measures_us(engine: Engine) {
    let Some(tool) = siw::find("perftest_measures_us") else { return };
    for program in PROGRAMS {
        with_retries(program.name(), TRIES, || {
            let script = format!("timeout 30 {} 10.7.0.1", words(program));
            let mut peer =
                Guest { siw: &["mpa_crc_required=1"], script: &script, ..Guest::default() }.boot(&tool);
            let host = host(engine, &peer.ether(), 1500);
            peer.ready()?;
            let _end = perftest::serve(&host.context, &work(program))?;
            let said = peer.succeed(SCRIPT)?;
            assert!(reported(&said), "{said:#?}");
            Ok(())
        });
    }
}

fn we_measure_perftests_servers(engine: Engine) {
    let Some(tool) = siw::find("we_measure_perftests_servers") else { return };
    for program in PROGRAMS {
        with_retries(program.name(), TRIES, || {
            let script = format!("timeout 30 {}", words(program));
            let mut peer = Guest {
                siw: &["mpa_crc_required=1"],
                script: &script,
                ready_port: Some(perftest::PORT),
                ..Guest::default()
            }
            .boot(&tool);
            let host = host(engine, &peer.ether(), 1500);
            peer.ready()?;
            perftest::measure(&host.context, &work(program))?;
            let said = peer.succeed(SCRIPT)?;
            assert!(reported(&said), "{said:#?}");
            Ok(())
        });
    }
}
