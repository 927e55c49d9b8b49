-- People: who the shop knows, how they are recognised, what they agreed to, and what was computed about them.

-- email_key is the address lower-cased; attributes is a JSON object; bucket is a stable hash of the id, 0..9999. Readers of "everybody"
-- leave out rows with erased_at.
CREATE TABLE person (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    external_id   TEXT UNIQUE,
    email         TEXT,
    email_key     TEXT UNIQUE,
    first_name    TEXT,
    last_name     TEXT,
    phone         TEXT,
    locale        TEXT,
    time_zone     TEXT,
    country       TEXT,
    city          TEXT,
    attributes    TEXT NOT NULL,
    email_consent TEXT NOT NULL,
    ads_consent   TEXT NOT NULL,
    bucket        BIGINT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at  BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    -- Set when erased or merged away: the row stays so that what points at it still stands, without anything personal.
    erased_at     BIGINT,
    merged_into   BIGINT REFERENCES person (id)
);

-- Every name a person goes by. (kind: external | anonymous | email). A merge re-points rows, so a lookup is one probe.
CREATE TABLE person_identity (
    kind      TEXT NOT NULL,
    value     TEXT NOT NULL,
    person_id BIGINT NOT NULL REFERENCES person (id),
    PRIMARY KEY (kind, value)
);
CREATE INDEX person_identity_person ON person_identity (person_id);

-- An erase goes through everybody who became part of the person.
CREATE INDEX person_merged ON person (merged_into) WHERE merged_into IS NOT NULL;

-- Names (external ids, addresses) of erased people, as keyed hashes: an old file does not bring them back, and nobody can read who they were.
CREATE TABLE person_tombstone (
    name_hash TEXT PRIMARY KEY,
    erased_at BIGINT NOT NULL
);

-- Consent is a history of changes: a repeated answer moves confirmed_at of its row. The row that was confirmed last holds per channel, and
-- is copied to person.*_consent.
CREATE TABLE consent_log (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id  BIGINT NOT NULL REFERENCES person (id),
    channel    TEXT NOT NULL,
    state      TEXT NOT NULL,
    source     TEXT NOT NULL,
    at         BIGINT NOT NULL,
    confirmed_at BIGINT NOT NULL
);
CREATE INDEX consent_log_person ON consent_log (person_id, channel, at);

-- Addresses never to be written to again, whatever person they belong to. Keyed by lower-cased address; of an erased person's address only
-- 'sha256:…' is kept.
CREATE TABLE suppression (
    email_key  TEXT PRIMARY KEY,
    reason     TEXT NOT NULL,
    detail     TEXT,
    at         BIGINT NOT NULL
);

-- Computed traits, rebuilt by the job people.traits. Money is in the shop's reporting currency.
CREATE TABLE person_traits (
    person_id          BIGINT PRIMARY KEY REFERENCES person (id),
    computed_at        BIGINT NOT NULL,
    order_count        BIGINT NOT NULL,
    revenue_minor      BIGINT NOT NULL,
    first_order_at     BIGINT,
    last_order_at      BIGINT,
    recency_days       BIGINT,
    r_quantile         BIGINT NOT NULL,
    f_quantile         BIGINT NOT NULL,
    m_quantile         BIGINT NOT NULL,
    active_days_28     BIGINT NOT NULL,
    visits_28          BIGINT NOT NULL,
    visits_prev_28     BIGINT NOT NULL,
    depth_28           REAL NOT NULL,
    engagement         REAL NOT NULL,
    engagement_trend   REAL NOT NULL,
    top_category       TEXT,
    category_affinity  TEXT NOT NULL,
    price_p25_minor    BIGINT,
    price_p50_minor    BIGINT,
    price_p75_minor    BIGINT,
    interest_tags      TEXT NOT NULL,
    active_hours       TEXT NOT NULL,
    best_hour          BIGINT
);
