//! SPDY/3.1: frames, header compression, and sessions of multiplexed streams.

mod frame;
mod header;
mod reader;
mod session;
mod stream;

pub use frame::{Frame, FrameError};
pub use header::{HeaderCodecError, Headers};
pub use session::{Session, SessionError};
pub use stream::{Stream, StreamReader, StreamWriter};

#[cfg(test)]
mod tests;
