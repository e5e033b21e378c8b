//! RDMA verbs: protection domains, regions, completion queues and queue pairs.
//!
//! The names are those that an RDMA programmer knows from libibverbs; the rules are those of iWARP (RFC 5040, RFC 7306 and
//! the RDMA verbs draft). Every object is a handle that may be cloned and sent to other threads; the object goes when its
//! last handle goes, and keeps what it depends on alive until then.
//!
//! ```
//! use ironwarp_driver::verbs::{Access, Context, QpConfig, ReceiveRequest, SendRequest};
//! # use ironwarp_driver::Error;
//! fn ping(context: &Context) -> Result<(), Error> {
//!     let pd = context.alloc_pd()?;
//!     let cq = context.create_cq(16)?;
//!     let region = pd.register(4096, Access::LOCAL_WRITE)?;
//!     let qp = pd.create_qp(&QpConfig::new(&cq, &cq))?;
//!     qp.post_receive(&ReceiveRequest::new(1, [region.sge(0, 2048)?]))?;
//!     // ... connect ...
//!     region.write(2048, b"ping")?;
//!     qp.post_send(&SendRequest::send(2, region.sge(2048, 4)?))?;
//!     let completion = cq.wait(None)?;
//!     println!("{completion:?}");
//!     Ok(())
//! }
//! ```

mod access;
mod channel;
mod close;
mod completion;
mod context;
mod cq;
pub(crate) mod device;
mod pd;
mod qp;
mod queues;
mod region;
mod request;
mod service;
mod srq;
mod window;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use channel::CompletionChannel;
pub use completion::{Notify, WcOpcode, WcStatus, WorkCompletion};
pub use context::{Context, ContextConfig};
pub use cq::CompletionQueue;
pub(crate) use device::{Device, EventSink, QpNumber};
pub use pd::ProtectionDomain;
pub use qp::{Handoff, QpConfig, QpEvent, QpState, QueuePair};
pub use region::MemoryRegion;
pub use request::{Bind, Data, FastRegister, Operation, ReceiveRequest, RemoteAddress, SendRequest, Sge};
pub use srq::{SharedReceiveQueue, SrqConfig};
pub use window::{FastRegion, MemoryWindow};
