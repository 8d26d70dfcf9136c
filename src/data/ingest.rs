//! Reads a source once: one thread walks and unpacks, all cores decode and preprocess, a sink takes the results in the
//! order of the walk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::container::walk;
use super::decode::{Beside, Limits, Picture, decode_within};
use super::item::{Body, Item};
use super::left_out::LeftOut;
use super::preprocess::Preprocess;
use crate::limits::{Decoding, Reserved};
use crate::{Error, Result, files};

/// A picture that was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadImage {
    /// The file, by its path inside the source.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What a reading of a source found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The good pictures, in the order in which the sink took them.
    pub(crate) names: Vec<String>,
    /// How many have which (width, height, channels), before preprocessing.
    pub(crate) sizes: BTreeMap<(u32, u32, u32), u64>,
    /// What was skipped.
    pub(crate) bad: Vec<BadImage>,
    /// What else lies there.
    pub(crate) left_out: LeftOut,
}

impl Found {
    /// Pictures so far, good and bad.
    fn done(&self) -> u64 {
        (self.names.len() + self.bad.len()) as u64
    }
}

/// Pictures in one piece of work; enough to keep all cores busy.
const CHUNK_ITEMS: usize = 512;
/// Bytes in one piece of work before it is passed on.
const CHUNK_BYTES: usize = 16 << 20;
/// Pictures for each core between two questions whether to go on; a large photograph takes a core a tenth of a second.
const BETWEEN: usize = 4;
/// How long a slow source may go unasked.
const PATIENCE: Duration = Duration::from_millis(100);

/// Hears the number of pictures done so far, also while none arrives; returning false ends the reading.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Takes name, pixels and the preprocessing that made them.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&str, &[u8], &Preprocess) -> Result<()>;

type Decoded = Result<((u32, u32, u32), Vec<u8>), String>;

/// Reads what is under `path`. `prep` may come late: [`Preparation::FirstPicture`] takes the size of the first.
/// Stops behind the first `most` readable pictures.
///
/// # Errors
/// Those of [`walk`] and of the sink; [`Error::Stopped`] when `progress` says so.
pub(crate) fn ingest(
    path: &Path,
    prep: Preparation,
    limits: &Limits,
    most: Option<usize>,
    sink: Sink,
    progress: Progress<'_>,
) -> Result<Found> {
    // Nothing waits between the two: the walk gathers one chunk while another is decoded.
    let (send, receive) = sync_channel(0);
    let image_size = match prep {
        Preparation::Known(p) => Some(p.image_size),
        Preparation::FirstPicture => None,
    };
    std::thread::scope(|scope| {
        let walker = scope.spawn(move || produce(path, image_size, limits, send));
        // The receiver ends with this call, so that a walker whose sink failed stops instead of waiting forever.
        let consumed = consume(receive, prep, limits, most, sink, &mut |done| match progress(done) {
            true => Ok(()),
            false => Err(Error::Stopped { path: path.into() }),
        });
        let walked = match walker.join() {
            Ok(walked) => walked,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let mut found = consumed?;
        if most.is_none_or(|most| found.names.len() < most) {
            found.left_out = walked?;
        }
        Ok(found)
    })
}

/// How pictures are made alike.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Preparation {
    /// As the configuration says.
    Known(Preprocess),
    /// To the square and the channels of the first good picture.
    FirstPicture,
}

fn produce(
    path: &Path,
    image_size: Option<u32>,
    limits: &Limits,
    send: SyncSender<Vec<Item>>,
) -> Result<LeftOut> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    // The receiver is gone only after an error of its own, which is the one to report.
    let gone = || Error::format(path, "reading was stopped");
    let left_out = walk(path, image_size, limits, &mut |item| {
        bytes += match &item.body {
            Body::Encoded(b) => b.len(),
            Body::Raw(p) => p.pixels.len(),
            Body::File(_) | Body::Bad(_) => 0,
        };
        chunk.push(item);
        if chunk.len() >= CHUNK_ITEMS || bytes >= CHUNK_BYTES {
            bytes = 0;
            send.send(std::mem::take(&mut chunk)).map_err(|_| gone())?;
        }
        Ok(())
    })?;
    send.send(chunk).map_err(|_| gone())?;
    Ok(left_out)
}

fn consume(
    receive: Receiver<Vec<Item>>,
    prep: Preparation,
    limits: &Limits,
    most: Option<usize>,
    sink: Sink,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Found> {
    let mut found = Found::default();
    let mut known = match prep {
        Preparation::Known(p) => Some(p),
        Preparation::FirstPicture => None,
    };
    let most = most.unwrap_or(usize::MAX);
    let memory = Decoding::new(limits.memory);
    let at_once = BETWEEN * rayon::current_num_threads();
    loop {
        let mut chunk = match receive.recv_timeout(PATIENCE) {
            Ok(chunk) => chunk,
            Err(RecvTimeoutError::Timeout) => {
                progress(found.done())?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if known.is_none() {
            known = first_of(&mut chunk, limits, &memory)?;
        }
        let Some(prep) = known else {
            found.bad.extend(chunk.into_iter().filter_map(bad_item));
            continue;
        };
        let work = |item: Item| {
            let beside = |w, h| prep.working_bytes(w, h);
            let decoded = open(item.body, limits, &memory, &beside).and_then(|(picture, _room)| {
                let size = (picture.width, picture.height, picture.channels);
                Ok((size, prep.apply(picture)?))
            });
            (item.name, decoded)
        };
        let mut items = chunk.into_iter();
        while items.len() > 0 {
            let part: Vec<Item> = items.by_ref().take(at_once).collect();
            let done: Vec<(String, Decoded)> = part.into_par_iter().map(work).collect();
            for (name, decoded) in done {
                match decoded {
                    Ok((size, pixels)) => {
                        sink(&name, &pixels, &prep)?;
                        *found.sizes.entry(size).or_default() += 1;
                        found.names.push(name);
                    }
                    Err(reason) => found.bad.push(BadImage { name, reason }),
                }
                if found.names.len() >= most {
                    progress(found.done())?;
                    return Ok(found);
                }
            }
            progress(found.done())?;
        }
    }
    Ok(found)
}

/// The largest square that is made where nobody asks for a size: larger ones take seconds a picture and half a gigabyte.
const LARGEST_SQUARE: u32 = 1024;

/// The square and the channels of the first good picture, which is decoded again when its turn comes: a picture that waits decoded would
/// be in nobody's count.
fn first_of(chunk: &mut [Item], limits: &Limits, memory: &Decoding) -> Result<Option<Preprocess>> {
    for item in chunk {
        let shape = |p: &Picture| (p.width.min(p.height), p.channels);
        let opened = match &item.body {
            Body::Raw(p) => Ok(shape(p)),
            Body::Bad(_) => continue,
            Body::Encoded(bytes) => {
                decode_within(bytes, limits, &memory.pixels, &|_, _| 0).map(|(p, _)| shape(&p))
            }
            Body::File(path) => {
                open(Body::File(path.clone()), limits, memory, &|_, _| 0).map(|(p, _)| shape(&p))
            }
        };
        match opened {
            Ok((side, channels)) => return Preprocess::new(side.min(LARGEST_SQUARE), channels).map(Some),
            Err(reason) => item.body = Body::Bad(reason),
        }
    }
    Ok(None)
}

fn bad_item(item: Item) -> Option<BadImage> {
    match item.body {
        Body::Bad(reason) => Some(BadImage { name: item.name, reason }),
        _ => None,
    }
}

/// The pixels of an item, and their part of the memory with what is to be held `beside` them.
pub(crate) fn open(
    body: Body,
    limits: &Limits,
    memory: &Decoding,
    beside: Beside,
) -> Result<(Picture, Reserved), String> {
    match body {
        Body::Raw(picture) => Ok((picture, memory.pixels.reserve(0)?)),
        Body::Bad(reason) => Err(reason),
        Body::Encoded(bytes) => decode_within(&bytes, limits, &memory.pixels, beside),
        Body::File(path) => {
            // Without the path, which the report names already.
            let said = |e: Error| match e {
                Error::Io { source, .. } => source.to_string(),
                Error::Format { problem, .. } => problem,
                other => other.to_string(),
            };
            let (file, length) = files::open(&path).map_err(said)?;
            drop(file);
            let _room = memory.packed.reserve(length.min(limits.max_bytes))?;
            let bytes = files::read(&path, limits.max_bytes).map_err(said)?;
            decode_within(&bytes, limits, &memory.pixels, beside)
        }
    }
}
