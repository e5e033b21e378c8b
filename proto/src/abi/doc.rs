//! The register document, made from the declarations of this module.

use super::field::Layout;
use super::regs::{Command, CommandStatus, Counter, REGISTERS, Register};
use super::{completion, context, doorbell, event, queue, raw, receive_entry, region, send_entry, window};
use std::fmt::Write;

/// Every word-structured layout of the ABI.
pub const LAYOUTS: &[Layout] = &[
    context::LAYOUT,
    context::STATE_LAYOUT,
    context::RECORD_LAYOUT,
    context::STREAM_LAYOUT,
    send_entry::LAYOUT,
    receive_entry::LAYOUT,
    completion::LAYOUT,
    event::LAYOUT,
    event::FLUSH_LAYOUT,
    region::LAYOUT,
    queue::CQ_LAYOUT,
    queue::SRQ_LAYOUT,
    raw::LAYOUT,
];

/// `docs/registers.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Registers, doorbells and host memory structures\n\n\
         Generated from `proto/src/abi` by `cargo run --release -- registers`; a test fails when it is stale. \
         [host-abi.md](host-abi.md) says how they are used.\n\n\
         All values are little-endian 32-bit words. Reserved bits are written 0 and ignored.\n",
    );
    // Writing to a String cannot fail.
    let _ = tables(&mut out);
    out
}

fn tables(out: &mut String) -> std::fmt::Result {
    registers(out, "Registers (BAR 0)", REGISTERS)?;
    codes(
        out,
        "Commands",
        "CMD",
        Command::ALL.iter().map(|(item, doc)| (*item as u8, format!("{item:?}"), *doc)),
    )?;
    codes(
        out,
        "Command results",
        "CMD_STAT",
        CommandStatus::ALL.iter().map(|(item, doc)| (*item as u8, format!("{item:?}"), *doc)),
    )?;
    writeln!(out, "\n## Counters\n\n| register | counts |\n|---|---|")?;
    for (index, name) in Counter::NAMES.iter().enumerate() {
        writeln!(out, "| {:#05x} | {name} |", super::regs::COUNTERS as usize + 4 * index)?;
    }
    codes(
        out,
        "Window tables",
        "WIN_ADDR 31:24",
        window::Table::ALL.iter().map(|(item, doc)| (*item as u8, format!("{item:?}"), *doc)),
    )?;
    registers(out, "Doorbells of a QP page", doorbell::qp::DOORBELLS)?;
    registers(out, "Doorbells of a CQ page", doorbell::cq::DOORBELLS)?;
    registers(out, "Doorbells of a SRQ page", doorbell::srq::DOORBELLS)?;
    for layout in LAYOUTS {
        write_layout(out, layout)?;
    }
    codes(
        out,
        "Send opcodes",
        "opcode",
        send_entry::Opcode::ALL.iter().map(|(item, doc)| (*item as u8, format!("{item:?}"), *doc)),
    )?;
    codes(
        out,
        "Completion statuses",
        "status",
        completion::Status::ALL.iter().map(|(item, doc)| (*item as u8, format!("{item:?}"), *doc)),
    )?;
    codes(
        out,
        "Event types",
        "type",
        event::EventKind::ALL.iter().map(|(item, doc)| (*item as u8, format!("{item:?}"), *doc)),
    )?;
    codes(
        out,
        "Causes of QP_ERROR",
        "code",
        event::ErrorCause::ALL.iter().map(|(item, doc)| (*item as u8, format!("{item:?}"), *doc)),
    )
}

fn registers(out: &mut String, title: &str, registers: &[Register]) -> std::fmt::Result {
    writeln!(out, "\n## {title}\n\n| offset | name | access | content |\n|---|---|---|---|")?;
    for register in registers {
        writeln!(
            out,
            "| {:#05x} | {} | {} | {} |",
            register.offset, register.name, register.access, register.doc
        )?;
    }
    Ok(())
}

fn codes<'a>(
    out: &mut String,
    title: &str,
    column: &str,
    rows: impl Iterator<Item = (u8, String, &'a str)>,
) -> std::fmt::Result {
    writeln!(out, "\n## {title}\n\n| {column} | name | meaning |\n|---|---|---|")?;
    for (code, name, doc) in rows {
        writeln!(out, "| {code} | {name} | {doc} |")?;
    }
    Ok(())
}

fn write_layout(out: &mut String, layout: &Layout) -> std::fmt::Result {
    writeln!(out, "\n## {}\n\n{} words. {}\n", layout.name, layout.words, layout.doc)?;
    writeln!(out, "| word | bits | field | meaning |\n|---|---|---|---|")?;
    for field in layout.fields {
        let (word, bits) = if field.width > 32 {
            (format!("{}-{}", field.word, field.word + 1), format!("{}:0", field.width - 1))
        } else {
            (field.word.to_string(), format!("{}:{}", field.lsb + field.width - 1, field.lsb))
        };
        writeln!(out, "| {word} | {bits} | {} | {} |", field.name, field.doc)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_fit_and_do_not_overlap() {
        for layout in LAYOUTS {
            let mut used = vec![0u32; layout.words];
            for field in layout.fields {
                for bit in 0..field.width {
                    let (word, bit) = (field.word + (field.lsb + bit) as usize / 32, (field.lsb + bit) % 32);
                    assert!(word < layout.words, "{}: {} is outside", layout.name, field.name);
                    assert_eq!(used[word] >> bit & 1, 0, "{}: {} overlaps", layout.name, field.name);
                    used[word] |= 1 << bit;
                }
            }
        }
    }

    #[test]
    fn registers_are_aligned_and_in_order() {
        for pair in REGISTERS.windows(2) {
            assert!(pair[0].offset < pair[1].offset && pair[1].offset % 4 == 0, "{}", pair[1].name);
        }
    }

    #[test]
    fn register_document_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/registers.md");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == markdown(), "docs/registers.md is stale: run `cargo run --release -- registers`");
    }
}
