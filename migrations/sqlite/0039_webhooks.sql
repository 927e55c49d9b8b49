-- Webhooks: the shop's servers are told what happens.

-- An address that is told. secret signs the bodies (sealed with the shop's signing secret); kinds: what it asked for, each between blanks, so
-- that one look tells (' order.placed touch.clicked '). next_attempt_at doubles as a lease: whoever moves it on delivers.
CREATE TABLE webhook (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT NOT NULL,
    url             TEXT NOT NULL,
    secret          BLOB NOT NULL,
    kinds           TEXT NOT NULL,
    active          BOOLEAN NOT NULL,
    failures        BIGINT NOT NULL,
    failing_since   BIGINT,
    next_attempt_at BIGINT NOT NULL,
    created_at      BIGINT NOT NULL
);

-- What waits to be told, one row per webhook; gone once it was acknowledged. Ids only, no address: what they point at is read when it is told.
CREATE TABLE webhook_outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id BIGINT NOT NULL REFERENCES webhook (id),
    kind       TEXT NOT NULL,
    at         BIGINT NOT NULL,
    touch_id   BLOB,
    order_id   BIGINT,
    person_id  BIGINT,
    detail     TEXT
);
-- The next ones of one webhook, in order.
CREATE INDEX webhook_outbox_next ON webhook_outbox (webhook_id, id);

-- Attempts, for the page; the last few hundred of each webhook are kept.
CREATE TABLE webhook_attempt (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id BIGINT NOT NULL REFERENCES webhook (id),
    at         BIGINT NOT NULL,
    events     BIGINT NOT NULL,
    ok         BOOLEAN NOT NULL,
    status     BIGINT,
    took_us    BIGINT NOT NULL,
    error      TEXT
);
CREATE INDEX webhook_attempt_page ON webhook_attempt (webhook_id, id);

-- What happens is written down where it happens, and only for whom it concerns: without webhooks each costs a look into an empty table.
CREATE TRIGGER webhook_touch_sent AFTER UPDATE OF state ON touch WHEN NEW.state = 'sent' AND OLD.state <> 'sent' BEGIN
    INSERT INTO webhook_outbox (webhook_id, kind, at, touch_id, person_id)
    SELECT w.id, 'touch.sent', COALESCE(NEW.sent_at, NEW.updated_at), NEW.id, NEW.person_id FROM webhook w
    WHERE w.active AND instr(w.kinds, ' touch.sent ') > 0;
END;
CREATE TRIGGER webhook_touch_signal AFTER INSERT ON touch_signal
WHEN (NEW.actor = 'human' AND NEW.kind IN ('open', 'click')) OR NEW.kind IN ('bounce', 'complaint') BEGIN
    INSERT INTO webhook_outbox (webhook_id, kind, at, touch_id, detail)
    SELECT w.id, k.kind, NEW.at, NEW.touch_id, NEW.detail FROM webhook w
    JOIN (SELECT CASE NEW.kind WHEN 'open' THEN 'touch.opened' WHEN 'click' THEN 'touch.clicked' WHEN 'bounce' THEN 'touch.bounced'
        ELSE 'touch.complained' END AS kind) k
    WHERE w.active AND instr(w.kinds, ' ' || k.kind || ' ') > 0;
END;
CREATE TRIGGER webhook_unsubscribed AFTER INSERT ON consent_log WHEN NEW.state = 'unsubscribed' BEGIN
    INSERT INTO webhook_outbox (webhook_id, kind, at, person_id, detail)
    SELECT w.id, 'person.unsubscribed', NEW.at, NEW.person_id, NEW.channel FROM webhook w
    WHERE w.active AND instr(w.kinds, ' person.unsubscribed ') > 0;
END;
-- What is imported happened long ago.
CREATE TRIGGER webhook_order_placed AFTER INSERT ON shop_order WHEN NEW.source <> 'import' BEGIN
    INSERT INTO webhook_outbox (webhook_id, kind, at, order_id, person_id)
    SELECT w.id, 'order.placed', NEW.placed_at, NEW.id, NEW.person_id FROM webhook w
    WHERE w.active AND instr(w.kinds, ' order.placed ') > 0;
END;
CREATE TRIGGER webhook_order_changed AFTER UPDATE OF status, refunded_minor ON shop_order
WHEN NEW.status <> OLD.status OR NEW.refunded_minor <> OLD.refunded_minor BEGIN
    INSERT INTO webhook_outbox (webhook_id, kind, at, order_id, person_id)
    SELECT w.id, 'order.changed', NEW.updated_at, NEW.id, NEW.person_id FROM webhook w
    WHERE w.active AND instr(w.kinds, ' order.changed ') > 0;
END;
