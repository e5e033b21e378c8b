//! Connections: listeners, requests and their answers (RFC 5044 section 7, RFC 6581).

mod negotiate;
