//! One configuration, made ready for requests.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Method;
use quota_store::directory::StoredPlans;

use crate::{
    charge::Charges,
    config::{Config, Methods, Rejected, RuleAction, Unmatched, merged},
    identify::Identifier,
    metrics::{self, UnmatchedMetric},
    route::{Found, RouteTable, Target},
    seeding::InForce,
};

/// How many routes without a rule are named in the log, each once.
const MAX_WARNED: usize = 1_000;

/// Everything that a reload replaces at once. A request keeps the one it began with.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// With the plans that the database keeps.
    pub(crate) config: Config,
    /// Without them.
    pub(crate) file: Arc<Config>,
    /// The plans that the database keeps; `None` as long as they were not read.
    pub(crate) stored: Option<Arc<StoredPlans>>,
    pub(crate) charges: Charges,
    /// Since when its windows are.
    pub(crate) in_force: InForce,
    pub(crate) identifier: Arc<Identifier>,
    routes: RouteTable,
    /// Also of the runtimes that differ from this one in plans of the database alone.
    seen: Arc<Seen>,
    unmatched: UnmatchedMetric,
}

/// What requests have shown of a file's rules.
#[derive(Debug)]
struct Seen {
    /// Routes that the log named. Held for a look-up, never across an await.
    warned: Mutex<HashSet<String>>,
    /// By rule, whether a request matched it.
    matched: Box<[AtomicBool]>,
    /// Templates of the router that no rule names. Held for a look-up, never across an await.
    unruled: Mutex<BTreeSet<String>>,
}

impl Seen {
    fn nothing(file: &Config) -> Self {
        let matched = file.rules.iter().map(|_| AtomicBool::new(false));
        Self {
            warned: Mutex::default(),
            matched: matched.collect(),
            unruled: Mutex::default(),
        }
    }
}

/// What the rules say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It passes, uncounted.
    Pass,
    /// It passes as well; no rule names its route, which the log says now for the first time.
    Warned,
    /// This rule charges it.
    Charge(usize),
    /// No rule names it, and such requests are denied.
    Unmatched,
    /// Its path is an unusual spelling of a charged one.
    Misspelled,
}

impl Runtime {
    pub(crate) fn new(
        file: Config,
        identifier: Arc<Identifier>,
        stored: Option<Arc<StoredPlans>>,
    ) -> Self {
        let seen = Arc::new(Seen::nothing(&file));
        Self::of(Arc::new(file), identifier, stored, seen)
    }

    /// The same with other plans of the database.
    pub(crate) fn with_plans(&self, stored: StoredPlans) -> Self {
        let identifier = Arc::clone(&self.identifier);
        let (file, seen) = (Arc::clone(&self.file), Arc::clone(&self.seen));
        Self::of(file, identifier, Some(stored.into()), seen)
    }

    fn of(
        file: Arc<Config>,
        identifier: Arc<Identifier>,
        stored: Option<Arc<StoredPlans>>,
        seen: Arc<Seen>,
    ) -> Self {
        let config = match &stored {
            None => Config::clone(&file),
            Some(stored) => with_stored_plans(&file, stored),
        };
        let patterns = config.rules.iter().enumerate().flat_map(|(index, rule)| {
            rule.patterns
                .iter()
                .map(move |pattern| (&pattern.methods, pattern.path.as_str(), index))
        });
        let charged = config
            .rules
            .iter()
            .map(|rule| matches!(rule.action, RuleAction::Charge(_)))
            .collect();
        let routes = RouteTable::new(patterns, charged);
        metrics::config_info(config.revision());
        Self {
            charges: Charges::new(&config),
            in_force: InForce::default(),
            routes,
            identifier,
            config,
            file,
            stored,
            seen,
            unmatched: UnmatchedMetric::default(),
        }
    }

    /// What becomes of a request, which the same layer may charge already further out.
    pub(crate) fn ruling(&self, target: Target<'_>, is_charged: impl FnOnce() -> bool) -> Ruling {
        let found = self.routes.find(target);
        if let Found::Rule(rule) = found {
            self.note_match(rule);
        }
        match found {
            Found::Rule(rule) if self.config.rules[rule].action == RuleAction::Exempt => {
                Ruling::Pass
            }
            Found::Unmatched if self.config.unmatched == Unmatched::Pass => Ruling::Pass,
            _ if is_charged() => Ruling::Pass,
            Found::Rule(rule) => Ruling::Charge(rule),
            Found::Misspelled => Ruling::Misspelled,
            Found::Unmatched => self.unmatched(target),
        }
    }

    /// Most requests only read what they would write.
    fn note_match(&self, rule: usize) {
        // Nothing follows from it but a list that people read.
        if !self.seen.matched[rule].load(Ordering::Relaxed) {
            self.seen.matched[rule].store(true, Ordering::Relaxed);
        }
    }

    /// The rules that no request has matched.
    pub(crate) fn unmatched_rules(&self) -> Vec<String> {
        let rules = self.seen.matched.iter().enumerate();
        rules
            .filter(|(_, matched)| !matched.load(Ordering::Relaxed))
            .map(|(rule, _)| rule_name(&self.config, rule))
            .collect()
    }

    /// The templates of the router that no rule names, as far as requests came for them.
    pub(crate) fn unruled_routes(&self) -> Vec<String> {
        let unruled = self
            .seen
            .unruled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unruled.iter().cloned().collect()
    }

    fn note_unruled(&self, template: &str) {
        let mut unruled = self
            .seen
            .unruled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if unruled.len() < MAX_WARNED && !unruled.contains(template) {
            unruled.insert(template.to_owned());
        }
    }

    fn unmatched(&self, target: Target<'_>) -> Ruling {
        self.unmatched.count();
        if let Some(template) = target.template {
            self.note_unruled(template);
        }
        if self.config.unmatched == Unmatched::Deny {
            return Ruling::Unmatched;
        }
        if self.warn_once(target) {
            Ruling::Warned
        } else {
            Ruling::Pass
        }
    }

    /// Whether it warned now.
    fn warn_once(&self, target: Target<'_>) -> bool {
        let route = target.template.unwrap_or(target.original_path());
        let mut warned = self
            .seen
            .warned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if warned.contains(route) || warned.len() >= MAX_WARNED {
            return false;
        }
        warned.insert(route.to_owned());
        drop(warned);
        tracing::warn!(
            target: "quota::unmatched",
            method = %target.method,
            route,
            "no rule names this route, so it passes uncounted; name it in quota.toml, with a \
             charge or with `exempt = true`"
        );
        true
    }
}

/// The configuration with the plans of the database; the log says which of them are left out.
fn with_stored_plans(file: &Config, stored: &StoredPlans) -> Config {
    let (config, rejected) = merged(file, stored);
    for rejected in rejected {
        let Rejected {
            plan,
            field,
            problem,
        } = rejected;
        if file.file.has(&plan) {
            tracing::warn!(target: "quota::config", %plan, "a plan of the database is not in force: {problem}");
        } else {
            tracing::error!(
                target: "quota::config",
                %plan,
                field,
                "a plan of the database can't be read, and who has it gets the default plan: {problem}"
            );
        }
    }
    config
}

/// The method and path of a rule, for messages.
pub(crate) fn rule_name(config: &Config, rule: usize) -> String {
    let pattern = &config.rules[rule].patterns[0];
    let methods = match &pattern.methods {
        Methods::Any => "*".to_owned(),
        Methods::Some(methods) => {
            let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
            methods.join("|")
        }
    };
    format!("{methods} {}", pattern.path)
}

/// Shared by all clones; replaced whole.
pub(crate) type CurrentRuntime = arc_swap::ArcSwap<Runtime>;

/// The runtime that a request began with.
pub(crate) type RequestRuntime = Arc<Runtime>;
