//! Boards, pin by pin: Alchitry Cus in Verilog on an Ethernet cable, each with its UART at a pseudo-terminal, where the driver finds it as it would
//! find a real one (docs/board.md).

mod cable;
mod model;
mod terminal;

pub use cable::{Boards, BoardsError};
pub use model::{BoardInputs, BoardModel, BoardOutputs};
pub use terminal::Terminal;
