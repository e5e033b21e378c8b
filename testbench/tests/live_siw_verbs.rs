//! Every verb, every refusal and every way to end, against Linux's siw: `iwt` in the guest does one verb after the other, also
//! wrong ones.

use ironwarp_driver::cm::{ConnectError, ConnectParams, Revision, RtrSet};
use ironwarp_driver::net::CloseReason;
use ironwarp_driver::verbs::{Context, QpEvent, QpState, RemoteAddress, SendRequest, WcOpcode, WcStatus};
use ironwarp_proto::terminate::TerminateError;
use ironwarp_testbench::live::end::{
    End, LIMIT, RECEIVE, REGION, advertised, host, iwt_pattern, request, wait_for,
};
use ironwarp_testbench::live::engine::Engine;
use ironwarp_testbench::live::siw::{self, Guest};
use ironwarp_testbench::live::with_retries;
use ironwarp_testbench::on_model_and_rtl;
use std::time::Duration;

on_model_and_rtl!(
    siw_uses_every_verb_on_our_memory,
    what_siw_may_not_do_ends_in_the_terminate_of_the_rfc,
    refusals_are_understood_both_ways,
    we_use_every_verb_on_the_memory_of_siw,
    siw_may_send_first_after_rtr,
    the_terminates_of_siw_are_understood,
    disconnects_in_flight_leave_both_ends_usable,
    siw_closes_in_the_middle_of_its_writes,
);

/// Port of `iwt`.
const PORT: u16 = 7471;
/// How long a guest may take for its script.
const SCRIPT: Duration = Duration::from_secs(40);
/// Siw's responder now and then never reads the first FPDU (docs/interop.md).
const TRIES: u32 = 3;

/// Completions of requests (not of receives) among the output of `iwt`: how many, and those that are no success.
fn completions(said: &[String]) -> (usize, Vec<&String>) {
    let lines = said.iter().filter(|line| {
        let id = line.split("WC id=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        id.is_some_and(|id| id < 1000)
    });
    (lines.clone().count(), lines.filter(|line| !line.contains("status=0(")).collect())
}

fn siw_uses_every_verb_on_our_memory(engine: Engine) {
    let Some(tool) = siw::find("siw_uses_every_verb_on_our_memory") else { return };
    // `iwt` waits for 2 s at most; the RTL is simulated.
    let burst = if engine == Engine::Model { 16_384 } else { 2048 };
    for (parameters, mtu) in [(&["mpa_crc_required=1"][..], 1500), (&[], 9000)] {
        let script = format!(
            "iwt -c 10.7.0.1 send:64 sends:100 inline:20 send:0 z write:20000 read:20000 read:0 seg:300 send:4096 \
             write:3000 burst:8x{burst} rburst:8x{burst}"
        );
        let mut peer = Guest { siw: parameters, mtu, script: &script, ..Guest::default() }.boot(&tool);
        let host = host(engine, &peer.ether(), mtu);
        let end = End::new(&host.context, 16, RECEIVE);
        let listener = host.context.listen(PORT, 4).unwrap();
        peer.ready().unwrap();
        let established = end.accept(request(&host.context, &listener).unwrap()).unwrap();
        assert!(established.crc, "we want it");
        let theirs = iwt_pattern(20_000);
        for len in [64, 100, 20, 0] {
            assert_eq!(end.message().unwrap(), theirs[..len]);
        }
        assert_eq!(end.message().unwrap(), [&theirs[..150], &theirs[8192..8342]].concat());
        // In order behind the Write of 20,000 bytes.
        assert_eq!(end.message().unwrap(), theirs[..4096]);
        assert!(end.bytes(0, 20_000) == theirs);
        end.closed().unwrap();
        let said = peer.succeed(SCRIPT).unwrap();
        assert_eq!(completions(&said), (27, vec![]), "{said:#?}");
    }
}

fn what_siw_may_not_do_ends_in_the_terminate_of_the_rfc(engine: Engine) {
    let Some(tool) = siw::find("what_siw_may_not_do_ends_in_the_terminate_of_the_rfc") else { return };
    let cases = [
        ("write:64 wbadkey:100", TerminateError::DdpInvalidStag),
        ("write:64 wbound:100", TerminateError::DdpBounds),
        ("read:64 rbadkey:100", TerminateError::RdmapInvalidStag),
        ("read:64 rbound:100", TerminateError::RdmapBounds),
        ("send:256 send:1000", TerminateError::DdpTooLong),
        ("send:10 send:10 send:10", TerminateError::DdpNoBuffer),
    ];
    let script: String = cases.iter().map(|(ops, _)| format!("iwt -c 10.7.0.1 -t 4 {ops};")).collect();
    let mut peer = Guest { siw: &["mpa_crc_required=1"], script: &script, ..Guest::default() }.boot(&tool);
    let host = host(engine, &peer.ether(), 1500);
    let listener = host.context.listen(PORT, 4).unwrap();
    peer.ready().unwrap();
    for (ops, error) in cases {
        let end = End::new(&host.context, 2, 256);
        end.accept(request(&host.context, &listener).unwrap()).unwrap();
        match end.event() {
            Ok(QpEvent::TerminateSent(terminate)) => assert_eq!(terminate.error, error, "{ops}"),
            other => panic!("{ops}: {other:?}"),
        }
        end.closed().unwrap();
        assert_eq!(end.qp.state(), QpState::Terminate, "{ops}");
        assert!(end.bytes(REGION - 50, 50) == [0; 50], "{ops}: nothing of a refused Write is placed");
    }
    peer.succeed(SCRIPT).unwrap();
}

fn refusals_are_understood_both_ways(engine: Engine) {
    let Some(tool) = siw::find("refusals_are_understood_both_ways") else { return };
    let script = "iwt -c 10.7.0.1 send:1; iwt -c 10.7.0.1 -p 7480 send:1; echo over; iwt -s -x";
    let mut peer = Guest { script, ..Guest::default() }.boot(&tool);
    let host = host(engine, &peer.ether(), 1500);
    let listener = host.context.listen(PORT, 4).unwrap();
    peer.ready().unwrap();
    request(&host.context, &listener).unwrap().reject(b"no, thank you").unwrap();
    let end = End::new(&host.context, 4, RECEIVE);
    // The guest's own attempts first; the device has to be kept going meanwhile.
    wait_for(&host.context, 2 * LIMIT, "not over", || peer.wait_line("over", Duration::ZERO).ok()).unwrap();
    let rejected = connect(&host.context, &end, PORT, &ConnectParams::default()).unwrap_err();
    let ConnectError::Rejected { private_data, .. } = &rejected else { panic!("{rejected:?}") };
    assert_eq!(private_data, b"iwt-reject-reason");
    let said = peer.succeed(SCRIPT).unwrap();
    let text = said.join("\n");
    assert_eq!(text.matches("RDMA_CM_EVENT_REJECTED").count(), 1, "{text}");
    assert!(text.contains("Connection refused"), "nobody listens at 7480: {text}");
    let hex: Vec<_> = b"no, thank you".iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&hex.join(" ")), "{text}");
}

/// Connect to a server that may not listen yet, or whose predecessor has not quite gone: that one refuses without a word.
fn connect(
    context: &Context,
    end: &End,
    port: u16,
    params: &ConnectParams,
) -> Result<ironwarp_driver::cm::Established, ConnectError> {
    // A server whose connection stalled ends after 4 s only.
    let deadline = context.now() + 2 * LIMIT.as_nanos() as u64;
    loop {
        match end.connect(port, params) {
            Err(ConnectError::Tcp(CloseReason::Refused)) if context.now() < deadline => {}
            Err(ConnectError::Rejected { private_data, .. })
                if private_data.is_empty() && context.now() < deadline => {}
            other => return other,
        }
    }
}

/// Servers in the guest, each for one connection after the other: all verbs at 7471, one that posts no receive, one that
/// disconnects after 3 ms, one that sends first.
const SERVERS: &str = "serve() { while :; do iwt -s -t 4 \"$@\"; done; }; serve -p 7471 & serve -p 7472 -R 0 & \
                       serve -p 7473 -D 3 & serve -p 7474 -O send:32,write:2000,read:2000,sends:16 & wait";

fn we_use_every_verb_on_the_memory_of_siw(engine: Engine) {
    let Some(tool) = siw::find("we_use_every_verb_on_the_memory_of_siw") else { return };
    let mut peer = Guest { script: SERVERS, ready_port: Some(7474), ..Guest::default() }.boot(&tool);
    let host = host(engine, &peer.ether(), 1500);
    peer.ready().unwrap();
    let write = RtrSet { write: true, ..RtrSet::default() };
    let read = RtrSet { read: true, ..RtrSet::default() };
    let default = ConnectParams::default();
    for (name, params) in [
        ("default", default.clone()),
        ("no CRC", ConnectParams { crc: false, ..default.clone() }),
        // Revision 1 says nothing of IRD and ORD: the application has to know that `iwt` serves 4 Reads at once.
        ("revision 1", ConnectParams { revision: Revision::One, ord: Some(4), ..default.clone() }),
        ("RTR Write", ConnectParams { rtr: Some(write), ..default.clone() }),
        ("RTR Read", ConnectParams { rtr: Some(read), ..default.clone() }),
        ("every RTR", ConnectParams { rtr: Some(RtrSet::ALL), ..default.clone() }),
    ] {
        with_retries(name, TRIES, || {
            let end = End::new(&host.context, 16, RECEIVE);
            let established =
                connect(&host.context, &end, PORT, &params).map_err(|error| error.to_string())?;
            assert_eq!(established.crc, params.crc, "siw does as the initiator wants");
            let remote = advertised(&established.private_data);
            let data: Vec<u8> = (0..60_000u32).map(|n| (n * 7 + n / 251) as u8).collect();
            end.region.write(0, &data).unwrap();
            let sge = |offset, len| end.region.sge(offset, len).unwrap();
            end.post(&SendRequest::write(1, sge(0, data.len()), remote));
            end.done(WcOpcode::Write)?;
            end.post(&SendRequest::write(2, sge(0, 0), remote));
            end.done(WcOpcode::Write)?;
            end.post(&SendRequest::read(3, sge(100_000, data.len()), remote));
            end.done(WcOpcode::Read)?;
            assert!(end.bytes(100_000, data.len()) == data, "{name}: what was written was read back");
            for len in [0, 1, 64, RECEIVE] {
                end.send(0, len)?;
            }
            // As many Reads at once as were agreed upon, and more.
            for n in 0..24 {
                let from = RemoteAddress { to: remote.to + n as u64 * 1000, ..remote };
                end.post(&SendRequest::read(n as u64, sge(200_000 + n * 1000, 1000), from));
            }
            for _ in 0..24 {
                end.done(WcOpcode::Read)?;
            }
            assert!(end.bytes(200_000, 24_000) == data[..24_000], "{name}");
            end.close()
        });
    }
}

fn siw_may_send_first_after_rtr(engine: Engine) {
    let Some(tool) = siw::find("siw_may_send_first_after_rtr") else { return };
    let mut peer = Guest { script: SERVERS, ready_port: Some(7474), ..Guest::default() }.boot(&tool);
    let host = host(engine, &peer.ether(), 1500);
    peer.ready().unwrap();
    for rtr in [RtrSet { write: true, ..RtrSet::default() }, RtrSet { read: true, ..RtrSet::default() }] {
        with_retries("siw sends first", TRIES, || {
            let end = End::new(&host.context, 16, RECEIVE);
            let params = ConnectParams { rtr: Some(rtr), ..ConnectParams::default() };
            connect(&host.context, &end, 7474, &params).map_err(|error| error.to_string())?;
            assert_eq!(end.message()?, iwt_pattern(32));
            assert_eq!(end.message()?, iwt_pattern(16), "behind a Write and a Read");
            assert!(end.bytes(0, 2000) == iwt_pattern(2000));
            end.close()
        });
    }
}

fn the_terminates_of_siw_are_understood(engine: Engine) {
    let Some(tool) = siw::find("the_terminates_of_siw_are_understood") else { return };
    let mut peer = Guest { script: SERVERS, ready_port: Some(7474), ..Guest::default() }.boot(&tool);
    let host = host(engine, &peer.ether(), 1500);
    peer.ready().unwrap();
    type Wrong = fn(&End, RemoteAddress) -> SendRequest;
    let unknown = |layer, etype, code| TerminateError::Unknown { layer, etype, code };
    // Siw swaps layer and error type in its Terminates, and it is read as RFC 5040 has it (docs/interop.md).
    let cases: [(&str, TerminateError, u16, Wrong); 6] = [
        ("Write to a wrong STag", TerminateError::DdpInvalidStag, PORT, |end, remote| {
            let stag = remote.stag ^ 0x5500;
            SendRequest::write(9, end.region.sge(0, 100).unwrap(), RemoteAddress { stag, ..remote })
        }),
        ("Write out of bounds", TerminateError::DdpBounds, PORT, |end, remote| {
            let to = remote.to + REGION as u64 - 50;
            SendRequest::write(9, end.region.sge(0, 100).unwrap(), RemoteAddress { to, ..remote })
        }),
        ("Read of a wrong STag", TerminateError::DdpLocalCatastrophic, PORT, |end, remote| {
            let stag = remote.stag ^ 0x5500;
            SendRequest::read(9, end.region.sge(0, 100).unwrap(), RemoteAddress { stag, ..remote })
        }),
        ("Read out of bounds", unknown(1, 0, 1), PORT, |end, remote| {
            let to = remote.to + REGION as u64 - 50;
            SendRequest::read(9, end.region.sge(0, 100).unwrap(), RemoteAddress { to, ..remote })
        }),
        ("Send that is too long", unknown(2, 1, 2), PORT, |end, _| {
            SendRequest::send(9, end.region.sge(0, 5000).unwrap())
        }),
        ("Send without a receive", unknown(2, 1, 2), 7472, |end, _| {
            SendRequest::send(9, end.region.sge(0, 64).unwrap())
        }),
    ];
    for (name, error, port, wrong) in cases {
        with_retries(name, TRIES, || {
            let end = End::new(&host.context, 4, RECEIVE);
            let established = connect(&host.context, &end, port, &ConnectParams::default())
                .map_err(|error| error.to_string())?;
            let remote = advertised(&established.private_data);
            end.post(&SendRequest::write(1, end.region.sge(0, 64).unwrap(), remote));
            end.post(&wrong(&end, remote));
            end.done(WcOpcode::Write)?;
            match end.event()? {
                QpEvent::TerminateReceived(terminate) => assert_eq!(terminate.error, error, "{name}"),
                other => return Err(format!("{other:?}")),
            }
            end.closed()
        });
    }
}

fn disconnects_in_flight_leave_both_ends_usable(engine: Engine) {
    // Long enough that they are open when the end comes; the RTL is simulated.
    let writes = if engine == Engine::Model { 65_536 } else { 8192 };
    let Some(tool) = siw::find("disconnects_in_flight_leave_both_ends_usable") else { return };
    let mut peer = Guest { script: SERVERS, ready_port: Some(7474), ..Guest::default() }.boot(&tool);
    let host = host(engine, &peer.ether(), 1500);
    peer.ready().unwrap();
    let connected = |port| -> Result<(End, RemoteAddress), String> {
        let end = End::new(&host.context, 4, RECEIVE);
        let established = connect(&host.context, &end, port, &ConnectParams::default())
            .map_err(|error| error.to_string())?;
        Ok((end, advertised(&established.private_data)))
    };
    with_retries("siw closes while Reads are open", TRIES, || {
        let (end, remote) = connected(7473)?;
        let (mut posted, mut completed, mut flushed) = (0, 0, 0);
        while end.qp.state() == QpState::Rts && posted < 2000 {
            while posted - completed < 32 && end.qp.state() == QpState::Rts {
                end.qp
                    .post_send(&SendRequest::read(posted, end.region.sge(0, 16_384).unwrap(), remote))
                    .map_err(|error| error.to_string())?;
                posted += 1;
            }
            let completion = end.completion()?;
            completed += 1;
            flushed += u64::from(completion.status != WcStatus::Ok);
        }
        while completed < posted {
            let completion = end.completion()?;
            completed += 1;
            flushed += u64::from(completion.status == WcStatus::Flushed);
        }
        end.closed()?;
        assert!(flushed > 0 && flushed <= 32, "{flushed} of {posted}");
        Ok(())
    });
    with_retries("we reset while Writes are open", TRIES, || {
        let (end, remote) = connected(PORT)?;
        for n in 0..32 {
            end.post(&SendRequest::write(n, end.region.sge(0, writes).unwrap(), remote));
        }
        end.qp.abort().map_err(|error| error.to_string())?;
        for _ in 0..32 {
            end.completion()?;
        }
        Ok(())
    });
    with_retries("we close behind Writes", TRIES, || {
        let (end, remote) = connected(PORT)?;
        for n in 0..32 {
            end.post(&SendRequest::write(n, end.region.sge(0, writes).unwrap(), remote));
        }
        end.qp.disconnect().map_err(|error| error.to_string())?;
        for _ in 0..32 {
            end.done(WcOpcode::Write)?;
        }
        end.closed()
    });
}

fn siw_closes_in_the_middle_of_its_writes(engine: Engine) {
    let Some(tool) = siw::find("siw_closes_in_the_middle_of_its_writes") else { return };
    let script = "iwt -c 10.7.0.1 burst:20x16384 disc; iwt -c 10.7.0.1 send:5";
    let mut peer = Guest { script, ..Guest::default() }.boot(&tool);
    let host = host(engine, &peer.ether(), 1500);
    let listener = host.context.listen(PORT, 4).unwrap();
    peer.ready().unwrap();
    let end = End::new(&host.context, 4, RECEIVE);
    end.accept(request(&host.context, &listener).unwrap()).unwrap();
    end.closed().unwrap();
    // Siw's FIN comes where it was in its Writes.
    let event = end.event().unwrap();
    assert!(
        matches!(event, QpEvent::PeerClosed | QpEvent::PeerClosedEarly { .. } | QpEvent::Fatal(_)),
        "{event:?}"
    );
    let again = End::new(&host.context, 4, RECEIVE);
    again.accept(request(&host.context, &listener).unwrap()).unwrap();
    assert_eq!(again.message().unwrap(), iwt_pattern(5));
    again.closed().unwrap();
    peer.succeed(SCRIPT).unwrap();
}
