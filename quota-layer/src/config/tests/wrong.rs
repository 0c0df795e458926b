//! Wrong files, and what people are told about them.

use std::fmt::Write;

use super::load;

/// Renders the errors of each file, below its name.
fn told(files: &[(&str, &str)]) -> String {
    let mut told = String::new();
    for (name, text) in files {
        let text = text.replace("\n        ", "\n");
        let errors = load(text.trim_start()).expect_err(name);
        writeln!(told, "## {name}\n\n{errors}\n").unwrap();
    }
    told
}

macro_rules! tell {
    ($name:literal, $files:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "../snapshots" }, {
            insta::assert_snapshot!($name, told(&$files));
        });
    };
}

#[test]
fn the_text_is_not_toml() {
    tell!(
        "wrong_toml",
        [
            ("a text without quotes", "unmatched = warn"),
            ("a text without an end", "unmatched = \"warn"),
            ("a value without a key", "= 1"),
            ("a key twice", "unmatched = \"warn\"\nunmatched = \"deny\""),
            ("a table twice", "[store]\n[store]"),
            (
                "two mistakes",
                "unmatched = warn\n[store\nurl = \"memory:\""
            ),
            (
                "a secret in a line that is not TOML",
                "[store]\npassword = \"hunter2"
            ),
            ("a secret without quotes", "[store]\npassword = hunter2"),
        ]
    );
}

#[test]
fn the_key_is_unknown() {
    tell!(
        "wrong_keys",
        [
            ("a misspelled key", "unmached = \"warn\""),
            ("a misspelled section", "[stroe]\nurl = \"memory:\""),
            ("a key of another section", "[store]\nunmatched = \"warn\""),
            ("a key like no other", "[store]\ncolour = \"red\""),
            (
                "several, in the order of the file",
                "zebra = 1\n[store]\nulr = \"memory:\"\n[responses]\nheader = []"
            ),
            ("a misspelled secret", "[store]\npasswrod = \"hunter2\""),
            ("a section that is a value", "store = \"memory:\""),
            (
                "quotas that are a list",
                "quotas = [\"messages\"]\n[plans.free]\ndefault = true"
            ),
            ("a name in upper case", "[quotas.Messages]"),
            ("a name with two underscores", "[quotas.my__messages]"),
        ]
    );
}

#[test]
fn the_choice_is_not_one() {
    tell!(
        "wrong_choices",
        [
            ("a choice misspelled", "unmatched = \"wran\""),
            ("a choice that is none", "unmatched = \"ignore\""),
            ("a choice of the wrong type", "unmatched = true"),
            ("a boolean in quotes", "[store]\naccept_eviction = \"yes\""),
        ]
    );
}

#[test]
fn the_store_is_wrong() {
    tell!(
        "wrong_store",
        [
            ("no URL of a store", "[store]\nurl = \"localhost:6379\""),
            ("no host", "[store]\nurl = \"redis://:6379\""),
            (
                "a port that is no number",
                "[store]\nurl = \"redis://cache:sixty/0\""
            ),
            (
                "a database that is no number",
                "[store]\nurl = \"redis://cache/zero\""
            ),
            ("a cluster", "[store]\nurl = \"redis-cluster://a:1,b:2\""),
            (
                "a sentinel",
                "[store]\nurl = \"redis-sentinel://a:1,b:2/main\""
            ),
            (
                "a password inside the URL",
                "[store]\nurl = \"redis://:hunter2@cache:6379/0\""
            ),
            (
                "a user name inside the URL",
                "[store]\nurl = \"redis://quota@cache:6379/0\""
            ),
            (
                "a literal password",
                "[store]\nurl = \"redis://cache\"\npassword = \"hunter2\""
            ),
            ("a password that is a number", "[store]\npassword = 1234"),
            (
                "a password from nowhere",
                "[store]\nurl = \"redis://cache\"\npassword = \"env:REDIS_PASSWORD\""
            ),
            (
                "a password file that is not there",
                "[store]\nurl = \"redis://cache\"\npassword = \"file:no/such/file\""
            ),
            (
                "a user without password",
                "[store]\nurl = \"redis://cache\"\nusername = \"quota\""
            ),
            ("a URL that is not set", "[store]\nurl = \"env:REDIS_URL\""),
            (
                "a certificate that is none",
                "[store]\nurl = \"rediss://cache\"\nca_file = \"Cargo.toml\""
            ),
            ("a duration without unit", "[store]\ntimeout = 50"),
            (
                "a duration with a unit that is none",
                "[store]\ntimeout = \"50 millis\""
            ),
            ("a time-out of nothing", "[store]\ntimeout = \"0s\""),
            (
                "a time-out as long as a reservation",
                "[store]\ntimeout = \"30s\""
            ),
            (
                "a reservation that expires at once",
                "[store]\nreservation_ttl = \"500ms\""
            ),
            (
                "a longest reservation shorter than one",
                "[store]\nmax_reservation = \"10s\""
            ),
            ("nothing in flight", "[store]\nmax_in_flight = 0"),
            (
                "a share that is no percentage",
                "[store]\nlocal_share = \"a tenth\""
            ),
            ("a share without percent sign", "[store]\nlocal_share = 10"),
            ("more than all", "[store]\nlocal_share = \"101%\""),
            ("a prefix with braces", "[store]\nprefix = \"{quota}\""),
            ("a negative amount", "[store]\nallow_max = -1"),
            ("an amount that is not whole", "[store]\nallow_max = 1.5"),
            ("an amount that is no number", "[store]\nallow_max = nan"),
            (
                "an amount that is too large",
                "[store]\nallow_max = 9007199254740992"
            ),
        ]
    );
}

#[test]
fn the_identity_is_wrong() {
    tell!(
        "wrong_identity",
        [
            (
                "another place of tokens",
                "[identity]\nfrom = \"application\"\ntoken_from = [\"header\"]"
            ),
            (
                "a cookie without name",
                "[identity]\nfrom = \"application\"\ntoken_from = [\"cookie:\"]"
            ),
            (
                "no place of tokens",
                "[identity]\nfrom = \"application\"\ntoken_from = []"
            ),
            (
                "one place that is not a list",
                "[identity]\nfrom = \"application\"\ntoken_from = \"authorization\""
            ),
            (
                "anonymous without plan",
                "[identity]\nfrom = \"application\"\nanonymous = {}"
            ),
            (
                "anonymous under an unknown plan",
                "[identity]\nfrom = \"application\"\nanonymous = { plan = \"fre\" }"
            ),
            (
                "anonymous allowed",
                "[identity]\nfrom = \"application\"\nanonymous = \"allow\""
            ),
            (
                "a proxy by name",
                "[identity]\nfrom = \"application\"\ntrusted_proxies = [\"proxy\", \"10.0.0.0/33\"]"
            ),
            (
                "a plan from two same places",
                "[identity]\nfrom = \"application\"\nplan_from = [\"claim\", \"claim\"]"
            ),
            (
                "ids of no length",
                "[identity]\nfrom = \"application\"\nmax_id_bytes = 0"
            ),
        ]
    );
}

#[test]
fn the_tokens_are_verified_wrongly() {
    tell!(
        "wrong_jwt",
        [
            ("no algorithm", "[identity.jwt]\nalgorithms = []"),
            (
                "the algorithm none",
                "[identity.jwt]\nalgorithms = [\"none\"]"
            ),
            (
                "an unknown algorithm",
                "[identity.jwt]\nalgorithms = [\"HS265\"]"
            ),
            (
                "two families",
                "[identity.jwt]\nalgorithms = [\"HS256\", \"RS256\"]"
            ),
            (
                "a literal secret",
                "[identity.jwt]\nsecret = \"correct horse battery staple, twice over\""
            ),
            (
                "a literal secret that looks like a variable",
                "[identity.jwt]\nsecret = \"$QUOTA_JWT_SECRET\""
            ),
            (
                "a missing variable",
                "[identity.jwt]\nsecret = \"env:OTHER_SECRET\""
            ),
            (
                "a missing file",
                "[identity.jwt]\nsecret = \"file:no/such/secret\""
            ),
            (
                "a secret in a short file",
                "[identity.jwt]\nsecret = \"file:src/config/tests/short_secret\""
            ),
            (
                "two keys",
                "[identity.jwt]\nsecret = \"env:QUOTA_JWT_SECRET\"\njwks = \"https://issuer.example/jwks\"\naudience = \"any\""
            ),
            (
                "a secret for RS256",
                "[identity.jwt]\nalgorithms = [\"RS256\"]\nsecret = \"env:QUOTA_JWT_SECRET\""
            ),
            (
                "a public key for HS256",
                "[identity.jwt]\npublic_key = \"file:src/config/tests/public_key.pem\"\naudience = \"any\""
            ),
            (
                "no key for ES256",
                "[identity.jwt]\nalgorithms = [\"ES256\"]"
            ),
            (
                "a public key that is none",
                "[identity.jwt]\nalgorithms = [\"EdDSA\"]\npublic_key = \"env:QUOTA_JWT_SECRET\"\naudience = \"any\""
            ),
            (
                "a literal public key",
                "[identity.jwt]\nalgorithms = [\"EdDSA\"]\npublic_key = \"\"\"\n-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\"\"\"\naudience = \"any\""
            ),
            (
                "keys over plain http",
                "[identity.jwt]\nalgorithms = [\"RS256\"]\njwks = \"http://issuer.example/jwks\"\naudience = \"any\""
            ),
            (
                "keys at no URL",
                "[identity.jwt]\nalgorithms = [\"RS256\"]\njwks = \"issuer.example\"\naudience = \"any\""
            ),
            (
                "keys behind a password",
                "[identity.jwt]\nalgorithms = [\"RS256\"]\njwks = \"https://me:hunter2@issuer.example/jwks\"\naudience = \"any\""
            ),
            (
                "no audience with public keys",
                "[identity.jwt]\nalgorithms = [\"RS256\"]\njwks = \"https://issuer.example/jwks\""
            ),
            (
                "an audience that is not a list",
                "[identity.jwt]\naudience = \"api\""
            ),
            ("an empty audience", "[identity.jwt]\naudience = []"),
            ("no user", "[identity.jwt]\nclaims = { user = \"\" }"),
            (
                "a claim that is no pointer",
                "[identity.jwt]\nclaims = { tenant = \"/a~b\" }"
            ),
            (
                "an unknown claim",
                "[identity.jwt]\nclaims = { organisation = \"org\" }"
            ),
        ]
    );
}

#[test]
fn the_answers_are_wrong() {
    tell!(
        "wrong_responses",
        [
            ("another status", "[responses]\ndenied_status = 403"),
            (
                "unknown headers",
                "[responses]\nheaders = [\"x-ratelimit\"]"
            ),
            ("French", "[responses]\nlocales = [\"en\", \"fr\"]"),
            (
                "an upgrade that is no URL",
                "[responses]\nupgrade_url = \"/pricing\""
            ),
            (
                "a degrade header",
                "[responses]\ndegrade_header = \"x-quota-degrade\""
            ),
        ]
    );
}

#[test]
fn the_quotas_and_plans_are_wrong() {
    tell!(
        "wrong_plans",
        [
            ("no plan", "[plans]"),
            ("no default", "[plans.free]"),
            (
                "two defaults",
                "[plans.free]\ndefault = true\n[plans.pro]\ndefault = true"
            ),
            (
                "one word for units",
                "[quotas.messages]\nunit = [\"message\"]"
            ),
            (
                "a language that is none",
                "[quotas.messages]\ntitle = { english = \"Messages\" }"
            ),
            (
                "an unknown parent",
                "[plans.free]\ndefault = true\n[plans.pro]\nextends = \"fee\""
            ),
            (
                "plans in a circle",
                "[plans.free]\ndefault = true\n[plans.a]\nextends = \"b\"\n[plans.b]\nextends = \"c\"\n[plans.c]\nextends = \"a\""
            ),
            (
                "a plan that extends itself",
                "[plans.free]\ndefault = true\nextends = \"free\""
            ),
            (
                "an unknown time zone",
                "[plans.free]\ndefault = true\ntimezone = \"Africa/Duala\""
            ),
            (
                "no time zone",
                "[plans.free]\ndefault = true\ntimezone = \"+01:00\""
            ),
            (
                "grace without percent sign",
                "[plans.free]\ndefault = true\ngrace = 30"
            ),
            (
                "too much grace",
                "[plans.free]\ndefault = true\ngrace = \"1001%\""
            ),
            (
                "a warning that is not in a list",
                "[plans.free]\ndefault = true\nwarn_at = \"80%\""
            ),
            (
                "a warning at nothing",
                "[plans.free]\ndefault = true\nwarn_at = [\"0%\"]"
            ),
            (
                "a price without currency",
                "[plans.free]\ndefault = true\nprice = { amount = \"1,50\", per = \"month\" }"
            ),
            (
                "a reserve of an unknown quota",
                "[plans.free]\ndefault = true\nreserve = { token = 500 }"
            ),
        ]
    );
}

#[test]
fn the_limits_are_wrong() {
    let limit = |value: &str| {
        format!("[plans.free]\ndefault = true\n[plans.free.limits]\nmessages = {value}\n")
    };
    let values = [
        ("bytes in the wrong spelling", "\"10GB/month\""),
        ("bytes in the wrong spelling, without window", "\"10GB\""),
        ("a number without window", "5"),
        ("a text without window", "\"50K\""),
        ("a negative number", "-5"),
        ("a negative text", "\"-5/day\""),
        ("a fraction", "1.5"),
        ("a fraction in a text", "\"1.5K/day\""),
        ("2^53", "\"9007199254740992/day\""),
        ("a misspelled window", "\"5/dya\""),
        ("a window in other words", "\"5/monthly\""),
        ("a window of weeks", "\"5/2w\""),
        ("no window after the slash", "\"5/\""),
        ("a word", "\"infinite\""),
        ("an empty list", "[]"),
        ("a window twice", "[\"5/day\", \"7/day\"]"),
        ("a window twice in other words", "[\"5/60m\", \"7/1h\"]"),
        ("unlimited beside a limit", "[\"unlimited\", \"5/day\"]"),
        ("a table without limit", "{ grace = \"10%\" }"),
        ("a table with a list", "{ limit = [\"5/day\"] }"),
        ("a shadow limit", "{ limit = \"5/day\", shadow = true }"),
        ("a list in a list", "[[\"5/day\"]]"),
    ];
    let files: Vec<_> = values.map(|(name, value)| (name, limit(value))).into();
    let mut files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    files.extend([
        ("an unknown quota", "[plans.free]\ndefault = true\n[plans.free.limits]\nmesages = \"5/day\""),
        ("rates under limits", "[plans.free]\ndefault = true\n[plans.free.limits]\nmessages = \"5/day\"\nrates.messages = \"1/second burst 5\""),
        ("reserve under limits", "[plans.free]\ndefault = true\n[plans.free.limits]\nmessages = \"5/day\"\nreserve = { messages = 5 }"),
    ]);
    tell!("wrong_limits", files);
}

#[test]
fn the_charges_are_wrong() {
    let charge = |value: &str| format!("[[routes]]\nmatch = \"POST /chat\"\ncharge = {value}\n");
    let values = [
        ("an unknown charge", "\"chat\""),
        ("a number", "1"),
        ("nothing", "{}"),
        ("an unknown quota", "{ message = 1 }"),
        ("a negative amount", "{ messages = -1 }"),
        ("a fraction", "{ messages = 0.5 }"),
        ("not a number", "{ messages = nan }"),
        ("2^53", "{ messages = 9007199254740992 }"),
        ("no reserve", "{ tokens = { actual = \"handler\" } }"),
        ("more than max", "{ tokens = { reserve = 500, max = 400 } }"),
        (
            "the length of the request",
            "{ tokens = { reserve = \"content-length/4\" } }",
        ),
        (
            "a header",
            "{ tokens = { reserve = \"header:x-tokens\", max = 10 } }",
        ),
        (
            "a part of the body",
            "{ tokens = { reserve = 1, actual = \"json:/usage\" } }",
        ),
        (
            "a list of places",
            "{ tokens = { reserve = 1, actual = [\"handler\"] } }",
        ),
        (
            "an unknown place",
            "{ tokens = { reserve = 1, actual = \"handlers\" } }",
        ),
        (
            "a longer stream",
            "{ tokens = { reserve = 1, extend = 10, at_limit = \"finish\" } }",
        ),
    ];
    let files: Vec<_> = values.map(|(name, value)| (name, charge(value))).into();
    let mut files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    files.push((
        "a misspelled charge",
        "[charges.chat]\nmessages = 1\n[[routes]]\nmatch = \"POST /chat\"\ncharge = \"caht\"",
    ));
    tell!("wrong_charges", files);
}

#[test]
fn the_rules_are_wrong() {
    tell!(
        "wrong_routes",
        [
            ("one table", "[routes]\nmatch = \"GET /a\"\nexempt = true"),
            ("no match", "[[routes]]\nexempt = true"),
            ("an empty list", "[[routes]]\nmatch = []\nexempt = true"),
            (
                "neither charge nor exempt",
                "[[routes]]\nmatch = \"GET /a\""
            ),
            (
                "charge and exempt",
                "[[routes]]\nmatch = \"GET /a\"\ncharge = { messages = 1 }\nexempt = true"
            ),
            (
                "a misspelled key",
                "[[routes]]\nmatch = \"GET /a\"\nchrage = { messages = 1 }\nexempt = true"
            ),
            ("no method", "[[routes]]\nmatch = \"/a\"\nexempt = true"),
            (
                "a method in lower case",
                "[[routes]]\nmatch = \"post /a\"\nexempt = true"
            ),
            (
                "a misspelled method",
                "[[routes]]\nmatch = \"PSOT /a\"\nexempt = true"
            ),
            (
                "any method",
                "[[routes]]\nmatch = \"ANY /a\"\nexempt = true"
            ),
            (
                "a method twice",
                "[[routes]]\nmatch = \"GET|GET /a\"\nexempt = true"
            ),
            ("no slash", "[[routes]]\nmatch = \"GET a\"\nexempt = true"),
            (
                "a parameter in the old syntax",
                "[[routes]]\nmatch = \"GET /a/:id\"\nexempt = true"
            ),
            (
                "the rest in the old syntax",
                "[[routes]]\nmatch = \"GET /a/*rest\"\nexempt = true"
            ),
            (
                "a star by itself",
                "[[routes]]\nmatch = \"GET /a/*\"\nexempt = true"
            ),
            (
                "a parameter without name",
                "[[routes]]\nmatch = \"GET /a/{}\"\nexempt = true"
            ),
            (
                "an open brace",
                "[[routes]]\nmatch = \"GET /a/{id\"\nexempt = true"
            ),
            (
                "the rest in the middle",
                "[[routes]]\nmatch = \"GET /{*rest}/a\"\nexempt = true"
            ),
            (
                "two parameters in a segment",
                "[[routes]]\nmatch = \"GET /{a}-{b}\"\nexempt = true"
            ),
            (
                "a query",
                "[[routes]]\nmatch = \"GET /a?b=c\"\nexempt = true"
            ),
            (
                "two paths in one text",
                "[[routes]]\nmatch = \"GET /a GET /b\"\nexempt = true"
            ),
            (
                "the same shape",
                "[[routes]]\nmatch = \"GET /a/{id}\"\nexempt = true\n[[routes]]\nmatch = [\"PUT /b\", \"POST|GET /a/{name}\"]\nexempt = true"
            ),
            (
                "the same shape in one rule",
                "[[routes]]\nmatch = [\"* /a\", \"* /a\"]\nexempt = true"
            ),
            (
                "a status that is none",
                "[[routes]]\nmatch = \"GET /a\"\ncharge = { messages = 1 }\nsuccess = [\"2XX\", \"600\", \"299-200\", \"ok\"]"
            ),
            (
                "statuses as numbers",
                "[[routes]]\nmatch = \"GET /a\"\ncharge = { messages = 1 }\nsuccess = [200]"
            ),
            (
                "no status",
                "[[routes]]\nmatch = \"GET /a\"\ncharge = { messages = 1 }\nsuccess = []"
            ),
            (
                "an unknown policy",
                "[[routes]]\nmatch = \"GET /a\"\ncharge = { messages = 1 }\non_failure = \"open\"\nsettle = \"after-response\""
            ),
        ]
    );
}

#[test]
fn it_is_not_supported_yet() {
    tell!(
        "wrong_later",
        [
            ("enforcement", "enforcement = \"shadow\""),
            (
                "a ledger",
                "[ledger]\nurl = \"postgres://quota:hunter2@db/quota\"\ndurability = \"power\""
            ),
            ("a ledger by default", "[ledger]"),
            (
                "administration",
                "[admin]\ntokens = [\"env:QUOTA_ADMIN_TOKEN\"]\nroles = [\"quota_admin\"]"
            ),
            (
                "administration with a literal",
                "[admin]\ntokens = [\"hunter2\"]\ntenant_tokens = { acme = [\"hunter3\"] }"
            ),
            ("tags", "[tags]\nnames = [\"goal\"]\nmax_length = 32"),
            (
                "prices",
                "[prices]\ncurrency = \"EUR\"\n[prices.\"gpt-4o-mini\"]\ninput_tokens = \"0.15/1M\""
            ),
            ("logs", "[log]\nuser = \"plain\""),
            (
                "stocks and leases",
                "[quotas.files]\nkind = \"stock\"\n[quotas.calls]\nmode = \"leased\"\nrecord = \"minute\""
            ),
            (
                "of plans",
                "[plans.free]\ndefault = true\nenabled = false\nfeatures = [\"x\"]\nanchor = \"subscription\"\norphans = \"charge\"\n[plans.free.rates]\nmessages = \"1/second burst 5\""
            ),
            (
                "of rules",
                "[[routes]]\nmatch = \"GET /ws\"\nper = \"message\"\ntags = { goal = \"header:x-goal\" }\nfeature = \"x\"\nidempotency = \"replay\"\nshadow = true\nsuccess = [\"grpc\"]\ncharge = { messages = 1 }"
            ),
        ]
    );
}
