-- Touches: one creative shown or sent to one person, from planned to credited. Also the outbox of delivery.

CREATE TABLE touch (
    id              UUID PRIMARY KEY,
    channel         TEXT NOT NULL,
    arm             TEXT NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    person_id       BIGINT REFERENCES person (id),
    anonymous_id    TEXT,
    campaign_id     BIGINT NOT NULL,
    run_id          BIGINT,
    variant_id      BIGINT,
    -- The product it is about; product_ids holds all that it shows, in order (a link names its place in the list).
    product_id      BIGINT REFERENCES product (id),
    product_ids     JSONB NOT NULL,
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
    -- When it really went out or was shown; NULL for ghosts.
    sent_at         BIGINT,
    -- When it went out, or (a ghost) would have: what caps compare.
    contact_at      BIGINT,
    updated_at      BIGINT NOT NULL,
    open_at         BIGINT,
    click_at        BIGINT,
    viewable_at     BIGINT,
    -- When one of these three was last written (or moved to another person): by it, credit follows late clicks without looking at old ones.
    stamped_at      BIGINT
);
-- Planning is idempotent: one touch per person and run. (NULL run_id: ad impressions, which are unique by id.)
CREATE UNIQUE INDEX touch_run_person ON touch (run_id, person_id);
-- The claim: what is due, in order. Partial, so that a long history costs it nothing.
CREATE INDEX touch_due ON touch (channel, next_attempt_at, id) WHERE state IN ('planned', 'deferred');
-- At most one touch per person and channel is in flight: caps checked at the claim stay exact with many workers.
CREATE UNIQUE INDEX touch_in_flight ON touch (person_id, channel) WHERE state IN ('claimed', 'sending');
-- Leases that ran out.
CREATE INDEX touch_lease ON touch (lease_until) WHERE state IN ('claimed', 'sending');
-- Touches that nobody wants any more after a while.
CREATE INDEX touch_expiry ON touch (expires_at) WHERE state IN ('planned', 'deferred');
-- Caps: what did this person get lately?
CREATE INDEX touch_contact ON touch (person_id, contact_at);
-- A person's timeline, newest first.
CREATE INDEX touch_person ON touch (person_id, id);
-- Credit: touches that a human reacted to, by when that became known. Partial: most touches never are.
CREATE INDEX touch_stamped ON touch (stamped_at) WHERE stamped_at IS NOT NULL;
-- Journeys that led to nothing: touches that a human reacted to, by when they went out.
CREATE INDEX touch_answered ON touch (contact_at) WHERE click_at IS NOT NULL OR open_at IS NOT NULL OR viewable_at IS NOT NULL;
-- Progress and funnel of a campaign.
CREATE INDEX touch_campaign ON touch (campaign_id, state);
-- Keyset listing of a campaign's touches.
CREATE INDEX touch_campaign_page ON touch (campaign_id, id);

-- Campaigns whose touches nobody may claim now (paused). A row here stops the outbox at once, without touching a million rows.
CREATE TABLE touch_hold (
    campaign_id BIGINT PRIMARY KEY,
    since       BIGINT NOT NULL
);

-- What came back on a touch: opens, clicks, viewables, unsubscribes, bounces, complaints. actor: human | bot | proxy.
CREATE TABLE touch_signal (
    id        UUID PRIMARY KEY,
    touch_id  UUID NOT NULL REFERENCES touch (id),
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
-- A merge moves a person's assignments.
CREATE INDEX holdout_assignment_person ON holdout_assignment (person_id);
