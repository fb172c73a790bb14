//! Whether a JPEG file holds all of its picture.
//!
//! Decoders fill what is missing with grey and say nothing of it. So the entropy-coded data is read once before, without
//! making pixels of it: each block must have its bits.
//! <https://www.w3.org/Graphics/JPEG/itu-t81.pdf>: annex B is the markers, F.2.2 sequential scans, G.2 progressive ones.

/// Whether every block of every component has its bits, down to the last of them. Of a kind of JPEG that no decoder here
/// reads, nothing is said: it is whole.
pub fn is_complete(file: &[u8]) -> bool {
    let mut reader = Reader { data: Bits { file, place: 0, bits: 0, left: 0 }, ..Reader::default() };
    reader.read_to_the_end().unwrap_or(false)
}

/// What has been read of a file. Where a method gives `None`, the data has come to its end, or cannot be right.
#[derive(Default)]
struct Reader<'a> {
    data: Bits<'a>,
    frame: Option<Frame>,
    /// By class (DC, AC) and number.
    tables: [[Table; 4]; 2],
    /// After so many units the coding begins anew; 0: never.
    restart_interval: usize,
}

struct Frame {
    is_progressive: bool,
    /// Units of all components together, across and down.
    units: (usize, usize),
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Blocks across and down in one unit.
    sampling: (usize, usize),
    /// Blocks across and down where the component stands alone in a scan.
    blocks: (usize, usize),
    /// For each block, row by row, its coefficients that are not 0 so far. A refinement has to know.
    nonzero: Vec<u64>,
    /// How many low bits of each coefficient have not come yet; [`UNSEEN`] before its first scan.
    missing_bits: [u8; 64],
}

const UNSEEN: u8 = u8::MAX;

/// What one scan brings: which components, with their tables for DC and AC, and which bits of which coefficients.
struct Scan {
    components: Vec<(usize, usize, usize)>,
    coefficients: std::ops::RangeInclusive<usize>,
    is_refinement: bool,
    low_bit: u8,
}

impl Reader<'_> {
    fn read_to_the_end(&mut self) -> Option<bool> {
        loop {
            match self.data.next_marker()? {
                0xd9 => return Some(self.frame.as_ref().is_some_and(Frame::has_all)),
                0xd8 | 0x01 | 0xd0..=0xd7 => {}
                marker => {
                    let segment = self.data.segment()?;
                    match marker {
                        0xc0..=0xc2 => self.frame = Some(Frame::read(segment, marker == 0xc2)?),
                        0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Some(true), // no such decoder
                        0xc4 => self.read_tables(segment)?,
                        0xdd => self.restart_interval = usize::from(u16::from_be_bytes(*segment.first_chunk()?)),
                        0xda => self.read_scan(segment)?,
                        _ => {}
                    }
                }
            }
        }
    }

    fn read_tables(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [id, rest @ ..] = segment {
            let counts: &[u8; 16] = rest.first_chunk()?;
            let end = 16 + counts.iter().map(|count| usize::from(*count)).sum::<usize>();
            let table = self.tables.get_mut(usize::from(id >> 4))?.get_mut(usize::from(id & 15))?;
            *table = Table { counts: *counts, symbols: rest.get(16..end)?.to_vec() };
            segment = &rest[end..];
        }
        Some(())
    }

    fn read_scan(&mut self, segment: &[u8]) -> Option<()> {
        let Self { data, frame, tables, restart_interval } = self;
        let frame = frame.as_mut()?;
        let scan = frame.scan(segment)?;
        data.begin_anew();
        let alone = scan.components.len() == 1;
        let (across, down) = if alone { frame.components[scan.components[0].0].blocks } else { frame.units };
        let mut blocks_to_skip = 0;
        for unit in 0..across * down {
            if *restart_interval > 0 && unit > 0 && unit % *restart_interval == 0 {
                data.restart()?;
                blocks_to_skip = 0;
            }
            let (x, y) = (unit % across, unit / across);
            for (component, dc, ac) in &scan.components {
                let Component { sampling, nonzero, .. } = &mut frame.components[*component];
                let row = frame.units.0 * sampling.0;
                let (wide, high) = if alone { (1, 1) } else { *sampling };
                let mut block = Block { data, dc: &tables[0][*dc], ac: &tables[1][*ac], scan: &scan };
                for place in 0..wide * high {
                    let index = (y * high + place / wide) * row + x * wide + place % wide;
                    if frame.is_progressive {
                        block.read_progressive(nonzero.get_mut(index)?, &mut blocks_to_skip)?;
                    } else {
                        block.read_sequential()?;
                    }
                }
            }
        }
        for (component, ..) in &scan.components {
            let component = &mut frame.components[*component];
            component.missing_bits[scan.coefficients.clone()].fill(scan.low_bit);
        }
        Some(())
    }
}

impl Frame {
    fn read(segment: &[u8], is_progressive: bool) -> Option<Self> {
        let [_, h1, h0, w1, w0, _, components @ ..] = segment else { return None };
        let (height, width) =
            (usize::from(u16::from_be_bytes([*h1, *h0])), usize::from(u16::from_be_bytes([*w1, *w0])));
        let components =
            components.chunks_exact(3).map(|one| (one[0], (usize::from(one[1] >> 4), usize::from(one[1] & 15))));
        let components: Vec<_> = components.collect();
        let most_wide = components.iter().map(|(_, sampling)| sampling.0).max().filter(|most| *most > 0)?;
        let most_high = components.iter().map(|(_, sampling)| sampling.1).max().filter(|most| *most > 0)?;
        let units = (width.div_ceil(8 * most_wide), height.div_ceil(8 * most_high));
        let component = |(id, sampling): (u8, (usize, usize))| {
            let blocks_in_all = if is_progressive { units.0 * sampling.0 * units.1 * sampling.1 } else { 0 };
            Component {
                id,
                sampling,
                blocks: (
                    (width * sampling.0).div_ceil(most_wide).div_ceil(8),
                    (height * sampling.1).div_ceil(most_high).div_ceil(8),
                ),
                nonzero: vec![0; blocks_in_all],
                missing_bits: [UNSEEN; 64],
            }
        };
        Some(Self { is_progressive, units, components: components.into_iter().map(component).collect() })
    }

    fn scan(&self, segment: &[u8]) -> Option<Scan> {
        let (count, rest) = segment.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let [from, to, bits, ..] = rest else { return None };
        let component = |selector: &[u8]| {
            let index = self.components.iter().position(|component| component.id == selector[0])?;
            Some((index, usize::from(selector[1] >> 4 & 3), usize::from(selector[1] & 3)))
        };
        let components = selectors.chunks_exact(2).map(component).collect::<Option<Vec<_>>>()?;
        // A sequential scan always brings everything, whatever it says.
        let (coefficients, bits) =
            if self.is_progressive { (usize::from(*from)..=usize::from(*to).min(63), *bits) } else { (0..=63, 0) };
        let fits = !components.is_empty() && !coefficients.is_empty();
        fits.then_some(Scan { components, coefficients, is_refinement: bits >> 4 > 0, low_bit: bits & 15 })
    }

    fn has_all(&self) -> bool {
        self.components.iter().all(|component| component.missing_bits.iter().all(|bits| *bits == 0))
    }
}

/// What is needed to read one block.
struct Block<'a, 'd> {
    data: &'a mut Bits<'d>,
    dc: &'a Table,
    ac: &'a Table,
    scan: &'a Scan,
}

impl Block<'_, '_> {
    fn read_sequential(&mut self) -> Option<()> {
        let length = self.data.symbol(self.dc)?;
        self.data.take(length)?;
        let mut place = 1;
        while place < 64 {
            let (zeros, length) = self.run_and_length()?;
            if length == 0 && zeros < 15 {
                break;
            }
            self.data.take(length)?;
            place += zeros + 1;
        }
        Some(())
    }

    fn read_progressive(&mut self, nonzero: &mut u64, blocks_to_skip: &mut u32) -> Option<()> {
        let (from, to) = self.scan.coefficients.clone().into_inner();
        if from == 0 {
            let length = if self.scan.is_refinement { 1 } else { self.data.symbol(self.dc)? };
            return self.data.take(length).map(|_| ());
        }
        let mut place = from;
        while *blocks_to_skip == 0 && place <= to {
            let (zeros, length) = self.run_and_length()?;
            if length == 0 && zeros < 15 {
                *blocks_to_skip = (1 << zeros) + self.data.take(u8::try_from(zeros).ok()?)?; // this one included
                break;
            }
            self.data.take(length)?;
            place = self.after_zeros(place, zeros, nonzero)?;
            if length > 0 && place <= to {
                *nonzero |= 1 << place;
            }
            place += 1;
        }
        if *blocks_to_skip > 0 {
            self.after_zeros(place, usize::MAX, nonzero)?;
            *blocks_to_skip -= 1;
        }
        Some(())
    }

    /// The place after so many coefficients that were 0. In a refinement each that was not has a bit here, and is passed
    /// over.
    fn after_zeros(&mut self, mut place: usize, mut zeros: usize, nonzero: &u64) -> Option<usize> {
        let to = *self.scan.coefficients.end();
        while place <= to {
            if self.scan.is_refinement && nonzero >> place & 1 == 1 {
                self.data.take(1)?;
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            place += 1;
        }
        Some(place)
    }

    fn run_and_length(&mut self) -> Option<(usize, u8)> {
        let symbol = self.data.symbol(self.ac)?;
        Some((usize::from(symbol >> 4), symbol & 15))
    }
}

/// A Huffman table: how many codes there are of each length from 1, and what they stand for, from the shortest on.
#[derive(Clone, Default)]
struct Table {
    counts: [u8; 16],
    symbols: Vec<u8>,
}

/// A file, read marker by marker and, within a scan, bit by bit.
#[derive(Default)]
struct Bits<'a> {
    file: &'a [u8],
    place: usize,
    bits: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    /// The number of the next marker. What stands before it is passed over.
    fn next_marker(&mut self) -> Option<u8> {
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff);
        self.place += self.file.get(self.place..)?.windows(2).position(is_marker)? + 2;
        self.file.get(self.place - 1).copied()
    }

    /// The content of the segment that begins here, with its length.
    fn segment(&mut self) -> Option<&'a [u8]> {
        let rest = self.file.get(self.place..)?;
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
        self.place += length;
        rest.get(2..length)
    }

    fn begin_anew(&mut self) {
        (self.bits, self.left) = (0, 0);
    }

    /// Goes on behind the restart marker that must come next.
    fn restart(&mut self) -> Option<()> {
        self.begin_anew();
        matches!(self.next_marker()?, 0xd0..=0xd7).then_some(())
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let byte = *self.file.get(self.place)?;
            // In a scan a byte 0xff is followed by 0; with anything else it is the marker at the scan's end.
            let is_marker = byte == 0xff && self.file.get(self.place + 1) != Some(&0);
            if is_marker {
                return None;
            }
            self.place += if byte == 0xff { 2 } else { 1 };
            (self.bits, self.left) = (byte, 8);
        }
        self.left -= 1;
        Some(u32::from(self.bits >> self.left & 1))
    }

    /// The number that the next bits are, 16 at most.
    fn take(&mut self, length: u8) -> Option<u32> {
        (0..length.min(16)).try_fold(0, |number, _| Some(number << 1 | self.bit()?))
    }

    /// What the next code stands for: of each length the codes follow one another (annex C.2).
    fn symbol(&mut self, table: &Table) -> Option<u8> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in table.counts.map(u32::from) {
            code = code << 1 | self.bit()?;
            if code < first + count {
                return table.symbols.get(usize::try_from(index + code - first).ok()?).copied();
            }
            index += count;
            first = (first + count) << 1;
        }
        None
    }
}
