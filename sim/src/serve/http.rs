//! As much of HTTP/1.1 (RFC 9112) as it takes to hand out files: GET and HEAD, one request a connection.

use super::{Conversation, Turn, ready};
use httparse::{EMPTY_HEADER, Status};
use ironwarp_driver::stream::TcpStream;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest request head, bytes.
const HEAD_MAX: usize = 8 << 10;
/// Most header fields of a request.
const FIELDS_MAX: usize = 64;
const CHUNK: usize = 64 << 10;
/// What a peer may still say behind its request before it is cut off, bytes.
const TRAILING_MAX: usize = 1 << 20;

/// What is handed out.
#[derive(Debug, Clone)]
pub(super) struct Root(Arc<PathBuf>);

impl Root {
    /// A directory or a file, which must be there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(path.canonicalize()?)))
    }

    /// The file that a request target names, if there is one: never one outside of the directory.
    fn find(&self, target: &str) -> Option<PathBuf> {
        let path = percent_decode(target.split(['?', '#']).next()?)?;
        let mut parts = path.strip_prefix('/')?.split('/').peekable();
        if self.0.is_file() {
            let name = parts.next()?;
            let named = name.is_empty() || self.0.file_name().is_some_and(|own| own == name);
            return (named && parts.next().is_none()).then(|| self.0.to_path_buf());
        }
        let mut file = self.0.to_path_buf();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            match part {
                "" if last => {}
                "" | "." | ".." => return None,
                part if part.contains(['\0', '\\']) => return None,
                part => file.push(part),
            }
        }
        if file.is_dir() {
            file.push("index.html");
        }
        // Links may lead elsewhere.
        let file = file.canonicalize().ok()?;
        (file.starts_with(&*self.0) && file.is_file()).then_some(file)
    }
}

/// `%41` is `A` (RFC 3986 section 2.1).
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok()
}

enum Stage {
    /// The request comes.
    Request(Vec<u8>),
    /// The answer goes: what is to be written, and what of the file follows.
    Answer { buffer: Vec<u8>, written: usize, file: Option<(File, u64)> },
    /// Everything is said; the peer closes. Bytes it still sends are passed over, so that it gets no RST before it has read.
    Closing(usize),
}

/// One request and its answer.
pub(super) struct Exchange {
    root: Root,
    stage: Stage,
}

impl Exchange {
    pub(super) fn new(root: Root) -> Self {
        Self { root, stage: Stage::Request(Vec::new()) }
    }

    /// The answer to what has come so far, when it is a whole request or never will be.
    fn answer(&self, head: &[u8]) -> io::Result<Option<Stage>> {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let (method, target) = match request.parse(head) {
            Ok(Status::Complete(_)) => (request.method.unwrap_or(""), request.path.unwrap_or("")),
            Ok(Status::Partial) if head.len() < HEAD_MAX => return Ok(None),
            Ok(Status::Partial) => return Ok(Some(refuse("431 Request Header Fields Too Large"))),
            Err(_) => return Ok(Some(refuse("400 Bad Request"))),
        };
        if !matches!(method, "GET" | "HEAD") {
            return Ok(Some(refuse("405 Method Not Allowed\r\nAllow: GET, HEAD")));
        }
        let Some(path) = self.root.find(target) else { return Ok(Some(refuse("404 Not Found"))) };
        let Ok(file) = File::open(&path) else { return Ok(Some(refuse("403 Forbidden"))) };
        let len = file.metadata()?.len();
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("txt" | "md") => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        );
        let file = (method == "GET").then_some((file, len));
        Ok(Some(Stage::Answer { buffer: head.into_bytes(), written: 0, file }))
    }
}

fn refuse(status: &str) -> Stage {
    let text = status.lines().next().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    Stage::Answer { buffer: answer.into_bytes(), written: 0, file: None }
}

impl Conversation for Exchange {
    fn step(&mut self, mut stream: &TcpStream, room: usize) -> io::Result<Turn> {
        let mut moved = 0;
        while moved < room {
            let next = match &mut self.stage {
                Stage::Request(head) => {
                    let mut bytes = [0; 2048];
                    let space = (HEAD_MAX - head.len()).min(bytes.len());
                    let Some(count) = ready(stream.read(&mut bytes[..space]))? else { break };
                    if count == 0 {
                        // Closed without a request.
                        return if head.is_empty() {
                            Ok(Turn::Over)
                        } else {
                            Err(io::ErrorKind::UnexpectedEof.into())
                        };
                    }
                    head.extend(&bytes[..count]);
                    moved += count;
                    let head = std::mem::take(head);
                    match self.answer(&head)? {
                        Some(answer) => answer,
                        None => Stage::Request(head),
                    }
                }
                Stage::Answer { buffer, written, .. } if *written < buffer.len() => {
                    let Some(count) = ready(stream.write(&buffer[*written..]))? else { break };
                    *written += count;
                    moved += count;
                    continue;
                }
                Stage::Answer { buffer, written, file: Some((file, left)) } if *left > 0 => {
                    buffer.resize(CHUNK.min(usize::try_from(*left).unwrap_or(CHUNK)), 0);
                    let count = file.read(buffer)?;
                    if count == 0 {
                        // The length was promised: the peer must see that this is not all.
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    buffer.truncate(count);
                    (*written, *left) = (0, *left - count as u64);
                    continue;
                }
                Stage::Answer { .. } => {
                    stream.shutdown_write()?;
                    Stage::Closing(0)
                }
                Stage::Closing(passed) => {
                    let mut bytes = [0; 2048];
                    let Some(count) = ready(stream.read(&mut bytes))? else { break };
                    *passed += count;
                    moved += count;
                    if count == 0 || *passed > TRAILING_MAX {
                        return Ok(Turn::Over);
                    }
                    continue;
                }
            };
            self.stage = next;
        }
        Ok(if moved > 0 { Turn::Moved } else { Turn::Waits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(test: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("ironwarp-http-{test}-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("root/sub")).unwrap();
        std::fs::write(directory.join("secret"), "s").unwrap();
        std::fs::write(directory.join("root/a b.txt"), "a").unwrap();
        std::fs::write(directory.join("root/sub/index.html"), "i").unwrap();
        let link = directory.join("root/link");
        if !link.exists() {
            std::os::unix::fs::symlink(directory.join("secret"), link).unwrap();
        }
        directory
    }

    fn answered(root: &Path, request: &str) -> (String, bool) {
        let exchange = Exchange::new(Root::open(root).unwrap());
        match exchange.answer(request.as_bytes()).unwrap() {
            Some(Stage::Answer { buffer, file, .. }) => {
                (String::from_utf8(buffer).unwrap().lines().next().unwrap().into(), file.is_some())
            }
            _ => ("partial".into(), false),
        }
    }

    #[test]
    fn files_are_found_inside_of_the_root_only() {
        let directory = directory("find");
        let root = Root::open(&directory.join("root")).unwrap();
        for (target, found) in [
            ("/a%20b.txt", true),
            ("/a b.txt?x=1", true),
            ("/sub/", true),
            ("/sub", true),
            ("/sub/index.html", true),
            ("/", false),
            ("/../secret", false),
            ("/%2e%2e/secret", false),
            ("/sub/../../secret", false),
            ("/link", false),
            ("//a%20b.txt", false),
            ("a%20b.txt", false),
            ("/a%2", false),
            ("/a%+1", false),
            ("/%00", false),
        ] {
            assert_eq!(root.find(target).is_some(), found, "{target}");
        }
        let single = Root::open(&directory.join("secret")).unwrap();
        assert!(single.find("/").is_some() && single.find("/secret").is_some());
        assert!(single.find("/other").is_none() && single.find("/secret/x").is_none());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn requests_are_answered_by_their_kind() {
        let directory = directory("answer");
        let root = directory.join("root");
        for (request, status, file) in [
            ("GET /a%20b.txt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", true),
            ("HEAD /a%20b.txt HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK", false),
            ("GET /none HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found", false),
            ("POST / HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed", false),
            ("\x01\x02\r\n\r\n", "HTTP/1.1 400 Bad Request", false),
            ("GET / HTTP/1.1\r\nHost:", "partial", false),
        ] {
            assert_eq!(answered(&root, request), (status.into(), file), "{request:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_MAX));
        assert!(answered(&root, &long).0.contains("431"));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
