-- Touches: one creative shown or sent to one person, from planned to credited. Also the outbox of delivery.

CREATE TABLE touch (
    id              BLOB PRIMARY KEY,
    channel         TEXT NOT NULL,
    arm             TEXT NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    person_id       BIGINT REFERENCES person (id),
    anonymous_id    TEXT,
    campaign_id     BIGINT NOT NULL,
    run_id          BIGINT,
    variant_id      BIGINT,
    product_id      BIGINT REFERENCES product (id),
    copy_id         BIGINT,
    creative_id     BIGINT,
    placement_id    BIGINT,
    planned_at      BIGINT NOT NULL,
    due_at          BIGINT NOT NULL,
    expires_at      BIGINT,
    next_attempt_at BIGINT NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0,
    lease_until     BIGINT,
    lease_owner     TEXT,
    sent_at         BIGINT,
    updated_at      BIGINT NOT NULL,
    open_at         BIGINT,
    click_at        BIGINT,
    viewable_at     BIGINT
);
-- Planning is idempotent: one touch per person and run. (NULL run_id: ad impressions, which are unique by id.)
CREATE UNIQUE INDEX touch_run_person ON touch (run_id, person_id);
-- The claim: what is due, in order.
CREATE INDEX touch_due ON touch (channel, state, next_attempt_at);
-- Caps and timelines: what did this person get lately?
CREATE INDEX touch_person ON touch (person_id, sent_at);
CREATE INDEX touch_campaign ON touch (campaign_id, state);

-- What came back on a touch: opens, clicks, viewables, unsubscribes, bounces, complaints. actor: human | bot | proxy.
CREATE TABLE touch_signal (
    id        BLOB PRIMARY KEY,
    touch_id  BLOB NOT NULL REFERENCES touch (id),
    kind      TEXT NOT NULL,
    actor     TEXT NOT NULL,
    at        BIGINT NOT NULL,
    detail    TEXT
);
CREATE INDEX touch_signal_touch ON touch_signal (touch_id, kind);
CREATE INDEX touch_signal_time ON touch_signal (at);

-- Who is left alone. scope: 'global' (scope_id 0) or 'campaign'. Written once, by stable hash, and never changed.
CREATE TABLE holdout_assignment (
    scope       TEXT NOT NULL,
    scope_id    BIGINT NOT NULL,
    person_id   BIGINT NOT NULL REFERENCES person (id),
    arm         TEXT NOT NULL,
    assigned_at BIGINT NOT NULL,
    PRIMARY KEY (scope, scope_id, person_id)
);
