//! Right files, and what they mean.

use std::time::Duration;

use http::Method;
use quota_store::{Amount, Bound, Orphans, Percent, Plan, Scope, Unlisted, Visible, Window};
use secrecy::ExposeSecret;

use super::{
    super::{
        Actual, Anonymous, ChargeItem, Config, IdentityFrom, Methods, OnFailure, PlanFrom,
        RuleAction, Settle, StoreUrl, TokenFrom, UnknownPlan, Unmatched,
    },
    SECRET, loaded,
};
use crate::{
    config::settings::Success,
    identity::{Audience, ClaimNames, JwtAlgorithm, JwtKey},
};

const REFERENCE: &str = include_str!("reference.toml");

fn amount(units: u64) -> Amount {
    Amount::new(units).unwrap()
}

fn plan<'a>(config: &'a Config, name: &str) -> &'a Plan {
    config
        .plans
        .iter()
        .find(|plan| plan.name.as_str() == name)
        .unwrap()
}

/// Writes limits as `WINDOW AMOUNT +GRACE !WARNINGS`, those of a tenant after `tenant`.
#[track_caller]
fn check_limits(config: &Config, name: &str, expected: &[(&str, &str)]) {
    let shown: Vec<(String, String)> = plan(config, name)
        .limits
        .iter()
        .map(|limits| {
            let scope = match limits.scope {
                Scope::User => "",
                Scope::Tenant => "tenant ",
            };
            let all: Vec<String> = limits
                .limits
                .iter()
                .map(|limit| {
                    let bound = match limit.bound {
                        Bound::AtMost(amount) => amount.to_string(),
                        Bound::Unlimited => "unlimited".to_owned(),
                    };
                    let warn_at: Vec<String> = limit
                        .warn_at
                        .iter()
                        .map(|percent| format!(" !{}", percent.get()))
                        .collect();
                    let warn_at = warn_at.concat();
                    format!("{} {bound} +{}{warn_at}", limit.window, limit.grace.get())
                })
                .collect();
            (format!("{scope}{}", limits.quota), all.join(", "))
        })
        .collect();
    let shown: Vec<(&str, &str)> = shown
        .iter()
        .map(|(quota, limits)| (quota.as_str(), limits.as_str()))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let config = loaded("[identity]\n");
    assert_eq!(config.unmatched, Unmatched::Warn);
    let identity = &config.identity;
    assert_eq!(identity.token_from, [TokenFrom::Authorization]);
    assert_eq!(identity.anonymous, Anonymous::Reject);
    assert!(identity.trusted_proxies.is_empty());
    assert!(!identity.require_tenant);
    assert_eq!(
        identity.plan_from,
        [PlanFrom::Assignment, PlanFrom::Claim, PlanFrom::Default]
    );
    assert_eq!(identity.unknown_plan, UnknownPlan::Default);
    assert_eq!(identity.max_id_bytes, 256);
    let IdentityFrom::Jwt(jwt) = &identity.from else {
        panic!("identities come from tokens");
    };
    assert_eq!(jwt.algorithms, [JwtAlgorithm::Hs256]);
    assert!(matches!(&jwt.key, JwtKey::Secret(secret) if secret.expose_secret() == SECRET));
    assert_eq!(jwt.issuer, None);
    assert_eq!(jwt.audience, Audience::Any);
    assert_eq!(jwt.leeway, Duration::from_secs(30));
    assert_eq!(jwt.max_bytes, 8192);
    assert_eq!(jwt.claims, ClaimNames::default());
    assert!(config.rules.is_empty());
    assert!(config.warnings.is_empty());
}

#[test]
fn the_store_and_the_answers_have_the_documented_defaults() {
    let config = loaded("");
    let store = &config.store;
    assert_eq!(store.url, StoreUrl::Memory);
    assert!(store.username.is_none() && store.password.is_none() && store.ca_pem.is_none());
    assert_eq!(store.prefix, "quota");
    assert_eq!(store.timeout, Duration::from_millis(50));
    assert_eq!(store.settle, Settle::BeforeResponse);
    assert_eq!(store.orphans, Orphans::Release);
    assert_eq!(store.reservation_ttl, Duration::from_secs(30));
    assert_eq!(store.max_reservation, Duration::from_mins(15));
    assert_eq!(store.max_in_flight, 100);
    assert_eq!(store.on_failure, OnFailure::Deny);
    assert_eq!(store.allow_max, amount(100));
    assert_eq!(store.local_share, Percent::new(10));
    assert!(!store.accept_eviction);
    assert_eq!(store.memory_subjects, 1_000_000);
    let responses = &config.responses;
    assert_eq!(responses.denied_status, 429);
    assert!(responses.x_quota && responses.ratelimit && responses.tenant_headers);
    assert_eq!(responses.upgrade_url, None);
    let plan = &config.default_plan;
    assert_eq!(plan.name.as_str(), "free");
    assert_eq!(plan.unlisted, Unlisted::Deny);
    assert_eq!(plan.timezone.iana_name(), Some("UTC"));
    assert_eq!(plan.display.visible, Visible::Shown);
}

#[test]
fn the_supported_part_of_the_reference_is_read() {
    let config = loaded(REFERENCE);
    assert_eq!(config.warnings, Vec::<String>::new());
    let IdentityFrom::Jwt(jwt) = &config.identity.from else {
        panic!("identities come from tokens");
    };
    assert_eq!(jwt.issuer.as_deref(), Some("https://issuer.example"));
    assert_eq!(jwt.audience, Audience::OneOf(vec!["api".to_owned()]));
    assert_eq!(
        config.responses.upgrade_url.as_deref(),
        Some("https://example.com/pricing")
    );
    let names: Vec<&str> = config
        .quotas
        .iter()
        .map(|quota| quota.name.as_str())
        .collect();
    assert_eq!(names, ["messages", "output_tokens", "api_calls_l3_detect"]);
    assert_eq!(config.quotas[0].unit_one, "message");
    assert_eq!(config.quotas[0].units["fr"].other, "messages");
    assert_eq!(config.quotas[1].unit_other, "tokens");
    assert_eq!(config.quotas[2].title.get("en"), "Api calls l3 detect");
    assert_eq!(config.default_plan.name.as_str(), "free");
    check_limits(
        &config,
        "free",
        &[
            ("messages", "day 5 +30 !80, month 150 +30 !80"),
            ("output_tokens", "month 50000 +30 !90"),
            ("api_calls_l3_detect", "month 0 +30 !80"),
        ],
    );
    check_limits(
        &config,
        "enterprise",
        &[
            ("messages", "day unlimited +0, month unlimited +0"),
            ("output_tokens", "month 50000 +30 !90"),
            ("api_calls_l3_detect", "month 0 +30 !80"),
            ("tenant messages", "month 1000000 +0 !80"),
        ],
    );
    let free = plan(&config, "free");
    assert_eq!(free.timezone.iana_name(), Some("Africa/Douala"));
    assert_eq!(free.display.order, 1);
    assert_eq!(free.display.title.as_ref().unwrap().get("fr"), "Gratuit");
    assert_eq!(free.display.price.as_ref().unwrap().currency, "XAF");
    let enterprise = plan(&config, "enterprise");
    assert_eq!(enterprise.timezone.iana_name(), Some("Africa/Douala"));
    assert_eq!(enterprise.display.title, None);
    assert_eq!(enterprise.reserve["output_tokens"], amount(500));
    assert_eq!(config.rules.len(), 3);
}

#[test]
fn rules_say_what_they_charge_and_when() {
    let config = loaded(REFERENCE);
    let [chat, detect, health] = config.rules.as_slice() else {
        panic!("three rules");
    };
    let RuleAction::Charge(items) = &chat.action else {
        panic!("a charge");
    };
    assert_eq!(items[0].quota.as_str(), "messages");
    assert_eq!(
        (items[0].reserve, items[0].actual),
        (amount(1), Actual::Reserved)
    );
    assert_eq!(
        items[1],
        ChargeItem {
            quota: config.quotas[1].name.clone(),
            reserve: amount(1000),
            max: Some(amount(4000)),
            actual: Actual::Handler,
        }
    );
    assert_eq!((chat.settle, chat.on_failure), (None, None));
    assert_eq!(chat.success, Success::default());
    assert_eq!(detect.settle, Some(Settle::Background));
    assert_eq!(detect.on_failure, Some(OnFailure::Allow));
    let counts: Vec<u16> = (100..=599)
        .filter(|status| detect.success.contains(*status))
        .collect();
    let expected: Vec<u16> = (101..=101)
        .chain(200..=299)
        .chain(304..=304)
        .chain(400..=404)
        .collect();
    assert_eq!(counts, expected);
    assert_eq!(detect.patterns[0].path, "/api/v1/studies/{id}/detect");
    let methods = Methods::Some(vec![Method::PUT, Method::PATCH]);
    assert_eq!(detect.patterns[1].methods, methods);
    assert_eq!(health.patterns[0].methods, Methods::Any);
    assert_eq!(health.action, RuleAction::Exempt);
}

#[test]
fn a_plan_takes_what_it_extends_and_says_the_rest_itself() {
    let config = loaded(
        "[quotas.a]\n[quotas.b]\n[quotas.c]\n\
         [plans.base]\ndefault = true\ngrace = \"30%\"\nwarn_at = [\"90%\", \"50%\", \"90%\"]\n\
         unlisted = \"unlimited\"\nvisible = false\norder = 7\ntimezone = \"Europe/Paris\"\n\
         limits = { a = \"1/day\", b = { limit = \"2/day\", grace = \"5%\" } }\n\
         tenant_limits = { a = \"10/day\" }\nreserve = { a = 1, b = 2 }\n\
         [plans.middle]\nextends = \"base\"\nwarn_at = []\n\
         limits = { c = \"3/15m\", a = [\"4/hour\", \"5/week\"] }\nreserve = { b = 3 }\n\
         [plans.top]\nextends = \"middle\"\ngrace = \"0%\"\nlimits = { b = 0 }\n",
    );
    check_limits(
        &config,
        "base",
        &[
            ("a", "day 1 +30 !50 !90"),
            ("b", "day 2 +5 !50 !90"),
            ("tenant a", "day 10 +0 !50 !90"),
        ],
    );
    check_limits(
        &config,
        "middle",
        &[
            ("a", "hour 4 +30, week 5 +30"),
            ("b", "day 2 +5"),
            ("c", "15m 3 +30"),
            ("tenant a", "day 10 +0"),
        ],
    );
    check_limits(
        &config,
        "top",
        &[
            ("a", "hour 4 +0, week 5 +0"),
            ("b", "day 0 +0"),
            ("c", "15m 3 +0"),
            ("tenant a", "day 10 +0"),
        ],
    );
    let top = plan(&config, "top");
    assert_eq!(top.timezone.iana_name(), Some("Europe/Paris"));
    assert_eq!(top.unlisted, Unlisted::Deny);
    assert_eq!(top.display.visible, Visible::Shown);
    assert_eq!(top.display.order, 0);
    assert_eq!((top.reserve["a"], top.reserve["b"]), (amount(1), amount(3)));
    assert_eq!(
        config.windows["a"],
        [Window::Hour, Window::Day, Window::Week]
    );
}

#[test]
fn unlimited_is_counted_in_every_window_that_any_plan_gives() {
    let config = loaded(
        "[quotas.a]\n[quotas.b]\n\
         [plans.free]\ndefault = true\n\
         limits = { a = [\"1/lifetime\", \"1/month\", \"1/30d\", \"1/second\"], b = \"unlimited\" }\n\
         [plans.pro]\nlimits = { a = \"unlimited\" }\ntenant_limits = { a = [\"9/year\"] }\n",
    );
    check_limits(
        &config,
        "pro",
        &[
            (
                "a",
                "second unlimited +0, 30d unlimited +0, month unlimited +0, year unlimited +0, \
             lifetime unlimited +0",
            ),
            ("tenant a", "year 9 +0"),
        ],
    );
    check_limits(
        &config,
        "free",
        &[
            ("a", "lifetime 1 +0, month 1 +0, 30d 1 +0, second 1 +0"),
            ("b", "month unlimited +0"),
        ],
    );
}

#[test]
fn what_asks_for_nothing_later_is_accepted() {
    let config = loaded(
        "enforcement = \"on\"\n\
         [admin]\ntokens = []\n[log]\nuser = \"hash\"\n[prices]\ncurrency = \"USD\"\n\
         [tags]\nmax_length = 64\n[responses]\nlocales = [\"en\"]\n\
         [quotas.messages]\nkind = \"flow\"\nmode = \"exact\"\n\
         [plans.free]\ndefault = true\nenabled = true\nfeatures = []\nanchor = \"calendar\"\n\
         orphans = \"release\"\nrates = {}\nlimits.messages = { limit = \"5/day\", shadow = false }\n\
         [[routes]]\nmatch = \"GET /a\"\nidempotency = \"off\"\nshadow = false\ntags = {}\n\
         charge = { messages = { reserve = 1, at_limit = \"cut\" } }\n",
    );
    assert_eq!(config.rules.len(), 1);
}

#[test]
fn a_plan_may_repeat_what_the_store_does_with_orphans() {
    let config = loaded(
        "[store]\norphans = \"charge\"\n[plans.free]\ndefault = true\norphans = \"charge\"\n",
    );
    assert_eq!(config.store.orphans, Orphans::Charge);
}

#[test]
fn what_looks_like_a_mistake_is_a_warning() {
    let config = loaded(
        "[charges.chat]\nmessages = 1\n\
         [store]\nprefix = \"q\"\nca_file = \"src/config/tests/certificate.pem\"\n\
         [identity]\nfrom = \"application\"\n[identity.jwt]\nleeway = \"5s\"\n\
         [[routes]]\nmatch = \"GET /a\"\nexempt = true\nsettle = \"background\"\n",
    );
    assert_eq!(
        config.warnings().collect::<Vec<_>>(),
        [
            "quota.toml:1:10: no rule uses the charge `chat`",
            "quota.toml:5:1: `store.ca_file` is not used: the store is in memory",
            "quota.toml:8:11: `identity.jwt` is not used while `identity.from` is \"application\"",
            "quota.toml:10:1: an exempt rule does not use `success`, `settle` and `on_failure`",
        ]
    );
}

#[test]
fn rules_that_differ_in_method_or_path_stand_beside_each_other() {
    let rules = [
        "GET /a/{id}",
        "POST /a/{id}",
        "* /a/{name}",
        "HEAD /a/{id}",
        "GET /a/{*rest}",
        "GET /a/{id}/",
        "GET /a/{{id}}",
        "GET /a/new",
        "GET /v{major}/x",
        "GET /",
    ];
    let rules: Vec<String> = rules
        .iter()
        .map(|rule| format!("[[routes]]\nmatch = \"{rule}\"\nexempt = true\n"))
        .collect();
    assert_eq!(loaded(&rules.concat()).rules.len(), rules.len());
}

#[test]
fn the_revision_tells_what_is_effective() {
    let revision = |text: &str| loaded(text).revision().to_owned();
    let defaults = revision("");
    assert_eq!(defaults.len(), 12);
    assert!(defaults.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(
        revision("# a comment\n[store]\ntimeout = \"50ms\"\n"),
        defaults
    );
    assert_ne!(revision("[store]\ntimeout = \"51ms\"\n"), defaults);
    assert_ne!(
        revision("[plans.free]\ndefault = true\norder = 1\n"),
        defaults
    );
}
