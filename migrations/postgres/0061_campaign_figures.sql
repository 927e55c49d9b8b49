-- The list of campaigns by what they came to: one row per campaign, made with it; the fold of the rollup keeps it. Apart from campaign, so
-- that counting is no change of a campaign.
CREATE TABLE campaign_figures (
    campaign_id  BIGINT PRIMARY KEY REFERENCES campaign (id),
    sent         BIGINT NOT NULL DEFAULT 0,
    clicked      BIGINT NOT NULL DEFAULT 0,
    -- As the shop reads credit, in minor units of its currency.
    earned_minor BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX campaign_figures_sent ON campaign_figures (sent, campaign_id);
CREATE INDEX campaign_figures_clicked ON campaign_figures (clicked, campaign_id);
CREATE INDEX campaign_figures_earned ON campaign_figures (earned_minor, campaign_id);
INSERT INTO campaign_figures (campaign_id) SELECT id FROM campaign;

-- Campaigns whose sums changed since they were last written beside the campaigns.
CREATE TABLE rollup_changed (campaign_id BIGINT PRIMARY KEY);
-- How credit was read then: where the shop reads it otherwise now, all campaigns are written anew.
ALTER TABLE rollup_state ADD COLUMN reading TEXT NOT NULL DEFAULT '';
