-- Journeys that led to nothing, told ahead: the paths report and the models that learn read those that ended in their span, and no touches.
--
-- One row per journey, reading (view_through: also human opens and viewable banners) and person, written by the pass that writes credit, for the
-- people of whom something came. ended: when its last window closes; what lies ahead may still convert. path: its contacts in the order in which
-- they were earned, each "campaign.variant.product.channel.quarter" (0: none; quarter: of an hour, when it was contacted), with ">" between.
CREATE TABLE rollup_journey (
    view_through BOOLEAN NOT NULL,
    ended        BIGINT NOT NULL,
    person_id    BIGINT NOT NULL,
    begun        BIGINT NOT NULL,
    touch_id     UUID NOT NULL,
    path         TEXT NOT NULL,
    PRIMARY KEY (view_through, ended, person_id, begun)
);
-- A person's journeys are told anew together, also those of touches that were somebody else's before a merge (touch_id: the first contact).
CREATE INDEX rollup_journey_person ON rollup_journey (person_id);
CREATE INDEX rollup_journey_touch ON rollup_journey (touch_id);
-- The span that the question asked of touches is gone with it.
DROP INDEX touch_clicked;
DROP INDEX touch_answered;
