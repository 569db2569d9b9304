//! Series: named streams of numbers, told apart by their labels, and the table that interns them.

mod hash;
mod labels;
mod table;

pub use hash::{BUCKETS, StableHash, worker_of};
pub use labels::Labels;
pub use table::{FieldId, Series, SeriesId, SeriesTable, TableFull, TableIdentity};
