//! Prediction: the most frequent cases done in gates while the sequencer sleeps (docs/microarchitecture.md section 9).
//!
//! What the sequencer expects next it says before it goes to sleep, as a *script* of words. What comes is compared with that. If it is just what was expected, the
//! gates say or write at once what the program would; the program then does its book-keeping as always, with the words that were said already kept
//! from the engines. Everything else is left to the program, as if nothing had been expected: it remains the one description of what the device does.

mod receive;
mod send;

pub use receive::PredictReceive;
pub use send::PredictSend;
