//! One configuration, made ready for requests.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use http::Method;

use crate::{
    charge::Charges,
    config::{Config, Methods, RuleAction, Unmatched},
    identify::Identifier,
    metrics::{self, UnmatchedMetric},
    route::{Found, RouteTable, Target},
};

/// How many routes without a rule are named in the log, each once.
const MAX_WARNED: usize = 1_000;

/// Everything that a reload replaces at once. A request keeps the one it began with.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) config: Config,
    pub(crate) charges: Charges,
    pub(crate) identifier: Arc<Identifier>,
    routes: RouteTable,
    /// Held for a look-up, never across an await.
    warned: Mutex<HashSet<String>>,
    unmatched: UnmatchedMetric,
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
    pub(crate) fn new(config: Config, identifier: Arc<Identifier>) -> Self {
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
            routes,
            identifier,
            config,
            warned: Mutex::default(),
            unmatched: UnmatchedMetric::default(),
        }
    }

    /// What becomes of a request, which the same layer may charge already further out.
    pub(crate) fn ruling(&self, target: Target<'_>, is_charged: impl FnOnce() -> bool) -> Ruling {
        let found = self.routes.find(target);
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

    fn unmatched(&self, target: Target<'_>) -> Ruling {
        self.unmatched.count();
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
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
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
