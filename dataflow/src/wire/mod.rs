//! Batches of plain records between processes: what timely calls a container, and how it becomes bytes.
//!
//! A [`Batch`] holds records of one [`Pod`] type, which [`impl_pod!`](crate::impl_pod) makes of any struct of
//! `u32`, `u64` and `f64` fields. Inside a process it is moved as it is; between processes its [`Codec`]
//! writes and reads it. There are two; a [`Codec`] of one's own serves records that deserve it, as those of the
//! feeds do; and a `Vec` of records with serde needs none:
//!
//! | container | on the wire | use it for |
//! | --- | --- | --- |
//! | `Vec<R>` | bincode of serde, by timely itself | anything that has text, options or lists |
//! | [`Columns<R>`](Columns) | plain little-endian columns | plain records that are many |
//! | [`Batch<R, C>`](Batch) | as `C` says | records for which every byte counts |
//! | `Abomonated<R>`, feature `abomonation` | rows as the memory has them | measuring only: read its module |
//!
//! `benches/benches/wire.rs` measures the three side by side, and `benches/README.md` has the figures.
//!
//! A batch begins with one word that names format, fields and number of records, and its length is always a
//! multiple of 8, as timely wants it. Peers must run the same build: one with another format or other
//! fields is refused, which [`undecodable_batches`] counts and [`Batch`] explains.
//!
//! ```
//! use tidewatch_dataflow::{impl_pod, wire::Columns};
//! use timely::dataflow::channels::ContainerBytes;
//!
//! #[derive(Copy, Clone, Debug, PartialEq)]
//! struct Reading { slot: u32, pane: u64, sum: f64 }
//! impl_pod!(Reading { slot: u32, pane: u64, sum: f64 });
//!
//! let batch = Columns::from(vec![Reading { slot: 7, pane: 3, sum: 0.5 }]);
//! let mut bytes = Vec::new();
//! batch.into_bytes(&mut bytes);
//! assert_eq!(bytes.len(), 8 + 8 + 8 + 8, "a header and three columns, the first of them padded");
//! assert_eq!(Columns::<Reading>::try_from_bytes(&bytes).unwrap().records(), batch.records());
//! ```

#[cfg(feature = "abomonation")]
mod abomonated;
mod batch;
mod columns;
mod error;
mod header;
mod pod;

#[cfg(test)]
mod tests;

#[cfg(feature = "abomonation")]
pub use abomonated::{Abomonated, AbomonationCodec};
pub use batch::{Batch, Codec, undecodable_batches};
pub use columns::{ColumnCodec, Columns};
pub use error::WireError;
pub use pod::{ColumnReader, Field, Kind, Pod, WordArray};
