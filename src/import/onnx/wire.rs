//! The bytes of a file as `prost` reads them: through a small window, weights passed over.
//!
//! A model may carry gigabytes of weights that nothing here reads. The window moves over the file,
//! and what a message skips is sought past. What is decoded is bounded, whatever lengths the file
//! claims: a length past the end of the file fails, and so does more structure than a limit.

use std::cell::Cell;
use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;

use prost::bytes::Buf;

/// How many bytes the window holds.
const WINDOW: usize = 64 * 1024;

/// Most bytes of a file that may be decoded, weights that are passed over not counted. A call takes
/// about forty bytes, and some two hundred once it is decoded.
pub(super) const MAX_STRUCTURE: u64 = 64 << 20;

/// What went wrong while bytes were taken: `Buf` has no way to say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file cannot be read.
    Io(String),
    /// More than [`MAX_STRUCTURE`] bytes are structure.
    TooLarge,
}

/// Reports a fault of a [`Window`] that `prost` has taken over.
pub(super) type FaultCell = Rc<Cell<Option<Fault>>>;

/// A file as a `Buf`.
///
/// After a fault it gives zeros, which no message may hold as a key, so that decoding ends.
pub(super) struct Window<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The part of the buffer that is not taken yet.
    start: usize,
    /// Bytes left in the file, those in the buffer included.
    left: u64,
    taken: u64,
    fault: FaultCell,
}

impl<R: Read + Seek> Window<R> {
    /// A window at the start of the file.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub(super) fn new(mut reader: R) -> std::io::Result<(Window<R>, FaultCell)> {
        let left = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(0))?;
        let fault = FaultCell::default();
        let mut window = Window {
            reader,
            buffer: Vec::new(),
            start: 0,
            left,
            taken: 0,
            fault: fault.clone(),
        };
        window.fill();
        Ok((window, fault))
    }

    /// Reads on where everything in the buffer is taken.
    fn fill(&mut self) {
        if self.start < self.buffer.len() || self.left == 0 {
            return;
        }
        let wanted = WINDOW.min(usize::try_from(self.left).unwrap_or(WINDOW));
        self.start = 0;
        self.buffer.resize(wanted, 0);
        if let Err(error) = self.reader.read_exact(&mut self.buffer) {
            self.fail(Fault::Io(error.to_string()));
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.fault.set(Some(fault));
        self.left = self.left.min(1);
        self.start = 0;
        self.buffer.clear();
        self.buffer.resize(self.left as usize, 0);
    }

    fn failed(&self) -> bool {
        let fault = self.fault.take();
        let failed = fault.is_some();
        self.fault.set(fault);
        failed
    }
}

impl<R: Read + Seek> Buf for Window<R> {
    fn remaining(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        let count = (count as u64).min(self.left);
        self.left -= count;
        let buffered = (self.buffer.len() - self.start) as u64;
        if count <= buffered {
            self.start += count as usize;
            self.taken += count;
        } else {
            self.start = self.buffer.len();
            // What lies past the window is passed over: nobody has asked for its bytes.
            self.taken += buffered;
            let past = i64::try_from(count - buffered).unwrap_or(i64::MAX);
            if let Err(error) = self.reader.seek_relative(past) {
                return self.fail(Fault::Io(error.to_string()));
            }
        }
        if self.taken > MAX_STRUCTURE && !self.failed() {
            return self.fail(Fault::TooLarge);
        }
        self.fill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Guards the window: what is copied out of it is what the file holds, over its edges and past
    /// what was skipped.
    #[test]
    fn bytes_are_those_of_the_file() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let (mut window, fault) = Window::new(Cursor::new(&bytes)).unwrap();
        let mut at = 0;
        for step in [1usize, 10, WINDOW - 5, 3 * WINDOW, 17, 5000] {
            let mut copied = vec![0; step.min(5000)];
            window.copy_to_slice(&mut copied);
            assert_eq!(copied, bytes[at..at + copied.len()]);
            window.advance(step);
            at += copied.len() + step;
            assert_eq!(window.remaining(), bytes.len() - at);
        }
        assert_eq!(fault.take(), None);
    }

    /// Guards the limit: structure without end is refused, and what is passed over is no structure.
    #[test]
    fn only_what_is_taken_counts() {
        let long = MAX_STRUCTURE as usize + 2 * WINDOW;
        let bytes = vec![1u8; long];
        let (mut window, fault) = Window::new(Cursor::new(&bytes)).unwrap();
        window.advance(long - 10);
        assert_eq!((fault.take(), window.remaining()), (None, 10));
        let (mut window, fault) = Window::new(Cursor::new(&bytes)).unwrap();
        while window.remaining() > 0 {
            window.advance(window.chunk().len());
        }
        assert_eq!(fault.take(), Some(Fault::TooLarge));
    }
}
