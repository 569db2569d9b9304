//! Which field may follow which, as bytes.
//!
//! A tree: an edge is the name of a field with the colon behind it and the kind of its value, and a path
//! from the root is how the fields of a record began.

use tidewatch_dataflow::series::FieldId;

/// The most edges: a fleet has some hundreds of message types with tens of fields each. An edge has 104 bytes
/// and its name, so the tree has at most 16,384 * (104 + 128) bytes = 3.6 MiB.
pub(super) const EDGES_MAX: usize = 16_384;
/// The most fields that may follow one path, for they are compared one by one, in a nanosecond or two each.
pub(super) const SIBLINGS_MAX: usize = 128;
/// The longest name with its quotation mark and colon.
pub(super) const NAME_MAX: usize = 128;

/// What the value of a field is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number of this field.
    Number(FieldId),
    /// A number that nobody asks for.
    Unread,
    /// `true` or `false`, which are numbers of this field too.
    Flag(FieldId),
    /// A text, which is passed over.
    Text,
    /// `null`, which is passed over.
    Null,
}

impl Kind {
    /// Whether a value that begins with `byte` can be of this kind.
    fn begins_with(self, byte: Option<&u8>) -> bool {
        match self {
            Kind::Number(_) | Kind::Unread => matches!(byte, Some(b'-' | b'0'..=b'9')),
            Kind::Flag(_) => matches!(byte, Some(b't' | b'f')),
            Kind::Text => byte == Some(&b'"'),
            Kind::Null => byte == Some(&b'n'),
        }
    }
}

/// A place in the tree: an index of the first edge that leads on from there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// Before the first field.
    pub(super) const ROOT: Place = Place(0);
    /// No edge leads on from here. Never an index: there are fewer edges.
    const NOWHERE: Place = Place(u32::MAX);
}

/// So much of a name is compared in one step. Name, tags and time have more bytes even when they are empty, so no
/// record that can be predicted is too short for it.
const HEAD: usize = 32;

/// The first bytes of a name as words.
type Head = [u64; HEAD / 8];

#[inline(always)]
fn words(head: &[u8; HEAD]) -> Head {
    let (words, _) = head.as_chunks::<8>();
    [words[0], words[1], words[2], words[3]].map(u64::from_le_bytes)
}

/// One field.
pub(super) struct Edge {
    /// The first 32 bytes of the name, and which of their bits it has.
    head: Head,
    mask: Head,
    name: Box<[u8]>,
    kind: Kind,
    /// The first edge that leads on from the end of this one.
    after: Place,
    /// The next edge that begins where this one does.
    sibling: Place,
}

impl Edge {
    fn new(name: &[u8], kind: Kind) -> Self {
        let (mut head, mut mask) = ([0; HEAD], [0; HEAD]);
        for (i, byte) in name.iter().enumerate().take(HEAD) {
            (head[i], mask[i]) = (*byte, u8::MAX);
        }
        Edge {
            head: words(&head),
            mask: words(&mask),
            name: name.into(),
            kind,
            after: Place::NOWHERE,
            sibling: Place::NOWHERE,
        }
    }

    /// The length of the name with its quotation mark and colon.
    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        self.name.len()
    }

    #[inline(always)]
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the next field is looked for.
    #[inline(always)]
    pub(super) fn after(&self) -> Place {
        self.after
    }

    /// Whether `text`, which begins with `head`, begins with this name and a value of this kind.
    #[inline(always)]
    fn matches(&self, head: Head, text: &[u8]) -> bool {
        let differs = (0..head.len())
            .fold(0, |differs, i| differs | ((head[i] & self.mask[i]) ^ self.head[i]));
        differs == 0
            && (self.length() <= HEAD || text.starts_with(&self.name))
            && self.kind.begins_with(text.get(self.length()))
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Tree {
    edges: Vec<Edge>,
}

impl Tree {
    /// The edge from `place` that `text` begins with.
    #[inline(always)]
    pub(super) fn follow(&self, place: Place, text: &[u8]) -> Option<&Edge> {
        let head = words(text.first_chunk()?);
        let mut at = place;
        loop {
            let edge = self.edges.get(at.0 as usize)?;
            if edge.matches(head, text) {
                return Some(edge);
            }
            at = edge.sibling;
        }
    }

    /// Adds the path of `fields`, names with their kinds. Empties the tree first if there is no room.
    pub(super) fn insert(&mut self, fields: &[(&[u8], Kind)]) {
        let refused = fields.len() > EDGES_MAX || fields.iter().any(|(n, _)| n.len() > NAME_MAX);
        if !refused && self.try_insert(fields).is_none() {
            self.clear();
            // Fits now, since it has at most as many edges as the tree.
            let _ = self.try_insert(fields);
        }
    }

    /// `None` when there is no room.
    fn try_insert(&mut self, fields: &[(&[u8], Kind)]) -> Option<()> {
        // The edge that leads to where the next one begins; none at the root.
        let mut parent = None;
        for (name, kind) in fields {
            let mut place = match parent {
                None => Place::ROOT,
                Some(parent) => self.edge(parent)?.after,
            };
            // Behind which brother it would come.
            let mut brother = None;
            let mut brothers = 0;
            while let Some(edge) = self.edge(place) {
                if edge.kind == *kind && *edge.name == **name {
                    break;
                }
                brother = Some(place);
                brothers += 1;
                place = edge.sibling;
            }
            if self.edge(place).is_none() {
                if brothers >= SIBLINGS_MAX || self.edges.len() >= EDGES_MAX {
                    return None;
                }
                place = Place(u32::try_from(self.edges.len()).ok()?);
                self.edges.push(Edge::new(name, *kind));
                match (brother, parent) {
                    (Some(brother), _) => self.edge_mut(brother)?.sibling = place,
                    (None, Some(parent)) => self.edge_mut(parent)?.after = place,
                    // The first edge of all stands where the root looks for it.
                    (None, None) => {}
                }
            }
            parent = Some(place);
        }
        Some(())
    }

    /// Forgets everything, and gives the memory back.
    pub(super) fn clear(&mut self) {
        self.edges = Vec::new();
    }

    fn edge(&self, place: Place) -> Option<&Edge> {
        self.edges.get(place.0 as usize)
    }

    fn edge_mut(&mut self, place: Place) -> Option<&mut Edge> {
        self.edges.get_mut(place.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(id: u32) -> Kind {
        Kind::Number(FieldId(id))
    }

    /// The kinds of the edges that `texts` lead along; more follows each.
    fn walk(tree: &Tree, texts: &[&str]) -> Option<Vec<Kind>> {
        let mut place = Place::ROOT;
        texts
            .iter()
            .map(|text| {
                let longer = format!("{text}{}", ".".repeat(HEAD));
                let edge = tree.follow(place, longer.as_bytes())?;
                place = edge.after();
                Some(edge.kind())
            })
            .collect()
    }

    #[test]
    fn paths_share_their_beginnings_and_kinds_are_told_apart() {
        let mut tree = Tree::default();
        assert_eq!(walk(&tree, &["a\":1"]), None);
        let (a, b, c) = (number(1), number(2), number(3));
        tree.insert(&[(b"a\":", a), (b"a_longer_name\":", b)]);
        tree.insert(&[(b"a\":", a), (b"a_longer_nama\":", c)]);
        tree.insert(&[(b"a\":", Kind::Text), (b"c\":", c)]);
        tree.insert(&[(b"a\":", Kind::Flag(FieldId(1)))]);
        tree.insert(&[(b"a\":", Kind::Null)]);
        tree.insert(&[(b"a\":", a), (b"a_longer_name\":", b)]);
        assert_eq!(tree.edges.len(), 7);
        let one = "a\":1,";
        assert_eq!(walk(&tree, &[one, "a_longer_name\":-1"]), Some(vec![a, b]));
        assert_eq!(walk(&tree, &[one, "a_longer_nama\":0"]), Some(vec![a, c]));
        assert_eq!(walk(&tree, &[one, "a_longer_namb\":0"]), None);
        assert_eq!(walk(&tree, &[one, "a_longer_name\":null"]), None);
        assert_eq!(walk(&tree, &[one, "a_longer_name"]), None);
        assert!(tree.follow(Place::ROOT, &[b'.'; HEAD - 1]).is_none());
        assert_eq!(walk(&tree, &[one, "c\":1,"]), None);
        assert_eq!(walk(&tree, &["a\":\"text\"", "c\":1,"]), Some(vec![Kind::Text, c]));
        assert_eq!(walk(&tree, &["a\":true,"]), Some(vec![Kind::Flag(FieldId(1))]));
        assert_eq!(walk(&tree, &["a\":null,"]), Some(vec![Kind::Null]));
        assert_eq!(walk(&tree, &["a\":[1],"]), None);
    }

    #[test]
    fn every_byte_of_a_name_counts() {
        let names: Vec<_> = (1..100).map(|length| format!("{}\":", "n".repeat(length))).collect();
        for name in &names {
            let mut tree = Tree::default();
            tree.insert(&[(name.as_bytes(), number(1))]);
            assert_eq!(walk(&tree, &[&format!("{name}1")]), Some(vec![number(1)]));
            for at in 0..name.len() {
                let mut other = format!("{name}1").into_bytes();
                other[at] ^= 1;
                let other = String::from_utf8(other).unwrap();
                assert_eq!(walk(&tree, &[&other]), None, "{other}");
            }
        }
    }

    #[test]
    fn a_full_tree_is_emptied_and_learns_anew() {
        let mut tree = Tree::default();
        // Names that never repeat meet the bound on siblings, paths the one on edges.
        for i in 0..100_000 {
            let name = format!("name_{i}\":");
            tree.insert(&[(name.as_bytes(), number(i))]);
            assert_eq!(walk(&tree, &[&format!("{name}1,")]), Some(vec![number(i)]));
            assert!(tree.edges.len() <= SIBLINGS_MAX);
        }
        let names: Vec<_> = (0..EDGES_MAX as u32 + 1).map(|i| format!("{i}\":")).collect();
        let all: Vec<_> = (0..).zip(&names).map(|(i, n)| (n.as_bytes(), number(i))).collect();
        tree.insert(&all[..EDGES_MAX]);
        assert_eq!(tree.edges.len(), EDGES_MAX);
        tree.insert(&all);
        tree.insert(&[("x".repeat(NAME_MAX + 1).as_bytes(), number(1))]);
        assert_eq!(tree.edges.len(), EDGES_MAX, "too long: nothing is forgotten for them");
        tree.insert(&[(b"new\":", number(1))]);
        assert_eq!(tree.edges.len(), 1);
    }
}
