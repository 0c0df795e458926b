//! The scripts, and calls to them.

use std::{fmt::Display, io::Write as _};

use redis::{Cmd, RedisWrite as _};
use smallvec::SmallVec;

/// A script and the hash that Redis knows it by.
#[derive(Debug)]
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

/// All scripts of the store.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) reserve: Script,
    pub(super) settle: Script,
    pub(super) renew: Script,
    pub(super) read: Script,
    pub(super) administer: Script,
    pub(super) sweep: Script,
    pub(super) plans: Script,
}

/// The scripts that only a store with a ledger needs.
#[derive(Debug)]
pub(super) struct LedgerScripts {
    pub(super) look: Script,
    pub(super) rebuild: Script,
    pub(super) rest: Script,
    pub(super) acknowledge: Script,
}

// Without `allow-oom` Redis refuses a script at `maxmemory` before it runs.
macro_rules! script {
    ($flags:literal, $ledger:expr, $($file:literal),+) => {
        Script::new(concat!(
            "#!lua", $flags, "\n", include_str!("common.lua"), "\n", $ledger, "\n",
            $(include_str!($file), "\n"),+
        ))
    };
}

// What the others take from `ledger.lua`, where there is no ledger.
macro_rules! without_ledger {
    () => {
        "local HAS_LEDGER, expect_epoch, append_event = false\n"
    };
}

macro_rules! with_ledger {
    () => {
        include_str!("ledger.lua")
    };
}

macro_rules! scripts {
    ($ledger:ident) => {
        Self {
            reserve: script!("", $ledger!(), "prelude.lua", "reserve.lua"),
            settle: script!(" flags=allow-oom", $ledger!(), "prelude.lua", "settle.lua"),
            renew: script!(" flags=allow-oom", $ledger!(), "prelude.lua", "renew.lua"),
            read: script!(" flags=no-writes", $ledger!(), "read.lua"),
            administer: script!(
                " flags=allow-oom",
                $ledger!(),
                "prelude.lua",
                "administer.lua"
            ),
            sweep: script!(" flags=allow-oom", $ledger!(), "prelude.lua", "sweep.lua"),
            plans: script!(" flags=allow-oom", $ledger!(), "prelude.lua", "plans.lua"),
        }
    };
}

impl Scripts {
    /// The scripts of a store that only counts.
    pub(super) fn counting() -> Self {
        scripts!(without_ledger)
    }

    /// The scripts of a store that also brings what it charged to a ledger.
    pub(super) fn recording() -> Self {
        scripts!(with_ledger)
    }
}

impl LedgerScripts {
    pub(super) fn new() -> Self {
        Self {
            look: script!(" flags=no-writes", with_ledger!(), "look.lua"),
            rebuild: script!(
                " flags=allow-oom",
                with_ledger!(),
                "prelude.lua",
                "last.lua",
                "rebuild.lua"
            ),
            rest: script!(" flags=no-writes", with_ledger!(), "last.lua", "rest.lua"),
            acknowledge: script!(" flags=allow-oom", with_ledger!(), "acknowledge.lua"),
        }
    }
}

/// How a script is named in a call.
#[derive(Clone, Copy)]
pub(super) enum Named {
    /// By its hash: short, and refused where Redis has forgotten the script.
    ByHash,
    /// By its text: always runs.
    ByText,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: redis::Script::new(code).get_hash().to_owned(),
        }
    }

    /// A call with the keys and arguments of all `items`, after the arguments in `head`.
    pub(super) fn call<'a, I>(&self, named: Named, head: &'a Words, items: I) -> Cmd
    where
        I: Iterator<Item = &'a Item> + Clone,
    {
        let words = || std::iter::once(head).chain(items.clone().flat_map(Item::words));
        let (count, bytes) = words().fold((3, self.code.len()), |(count, bytes), words| {
            (count + words.len(), bytes + words.bytes.len())
        });
        let mut command = Cmd::with_capacity(count, bytes);
        match named {
            Named::ByHash => command.arg("EVALSHA").arg(&self.hash),
            Named::ByText => command.arg("EVAL").arg(self.code),
        };
        let keys: usize = items.clone().map(|item| item.keys.len()).sum();
        command.arg(keys);
        for item in items.clone() {
            item.keys.write_to(&mut command);
        }
        head.write_to(&mut command);
        for item in items {
            item.arguments.write_to(&mut command);
        }
        command
    }
}

/// The keys and arguments of one operation.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) keys: Words,
    pub(super) arguments: Words,
}

impl Item {
    pub(super) fn new() -> Self {
        // Room for what most operations have, so that it need not grow.
        Self {
            keys: Words::with_capacity(192),
            arguments: Words::with_capacity(256),
        }
    }

    fn words(&self) -> [&Words; 2] {
        [&self.keys, &self.arguments]
    }
}

/// Words of a command in one allocation.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) bytes: Vec<u8>,
    ends: SmallVec<[u32; 12]>,
}

impl Words {
    fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ends: SmallVec::new(),
        }
    }

    pub(super) fn push(&mut self, word: impl Display) -> &mut Self {
        self.word(|bytes| {
            // Writing to memory does not fail.
            drop(write!(bytes, "{word}"));
        })
    }

    /// One word of several parts.
    pub(super) fn join(&mut self, parts: &[&str]) -> &mut Self {
        self.word(|bytes| {
            for part in parts {
                bytes.extend_from_slice(part.as_bytes());
            }
        })
    }

    /// One word, as `write` appends it.
    pub(super) fn word(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        write(&mut self.bytes);
        self.end_word();
        self
    }

    fn end_word(&mut self) {
        // The largest operation has a thousand counters, far below four gigabytes.
        self.ends
            .push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn write_to(&self, command: &mut Cmd) {
        let mut from = 0;
        for end in &self.ends {
            let end = usize::try_from(*end).unwrap_or(usize::MAX);
            command.write_arg(&self.bytes[from..end]);
            from = end;
        }
    }
}
