//! What is bid, and for what.

use std::cell::OnceCell;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use smallvec::SmallVec;

use super::consent::may_personalise;
use super::model::{Bid, BidRequest, BidResponse, Imp, SeatBid, country_code};
use crate::adserver::auction::{Auction, Categories, Deal, Domains, Refused, TAXONOMY};
use crate::adserver::decide::{Ask, NoFill, Shown};
use crate::adserver::render;
use crate::adserver::service::{AdServer, AskedBy, ticket_of};
use crate::adserver::snapshot::{AdPlacement, Sizes, Snapshot};
use crate::adserver::targeting::{self, Context, Device, country};
use crate::adserver::ticket::Ticket;
use crate::platform::Currency;
use crate::platform::clock::SECOND_US;
use crate::platform::ids::{PersonId, ProductId};

pub const NBR_INVALID: u8 = 2;
const NBR_CRAWLER: u8 = 3;
const NBR_CAPPED: u8 = 9;
/// A picture in a link.
const BANNER_TYPE: i64 = 2;
const MTYPE_BANNER: u8 = 1;
/// Seconds that a bid stands.
const EXPIRES_S: u32 = 600;
/// A bill that comes later than this is no bill of that bid: `exp`, and what a notice may take on its way.
pub const BILLABLE_US: i64 = (EXPIRES_S as i64 + 300) * SECOND_US;
const SEAT: &str = "marquee";

/// Millionths of a minor unit per impression, from a price per thousand in major units.
fn micro(cpm: f64, currency: Currency) -> i64 {
    (cpm * 10_f64.powi(currency.exponent() as i32) * 1_000.0).round().clamp(0.0, 9e15) as i64
}
fn cpm(micro: i64, currency: Currency) -> f64 {
    micro as f64 / 1_000.0 / 10_f64.powi(currency.exponent() as i32)
}

/// What an exchange charges: the price in its notice, where it can be read, and never more than was bid.
pub fn charged_micro(ticket: &Ticket, price: Option<&str>, currency: Currency) -> i64 {
    let number = |text: &str| text.parse::<f64>().ok().filter(|p| p.is_finite() && *p >= 0.0);
    let decoded = |text: &str| {
        let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('='))).ok()?;
        number(std::str::from_utf8(&bytes).ok()?)
    };
    match price.and_then(|p| number(p).or_else(|| decoded(p))) {
        Some(price) => micro(price, currency).min(ticket.click_micro),
        // A macro that was never filled in: what was bid.
        None => ticket.click_micro,
    }
}

fn is_crawler(agent: &str) -> bool {
    let folded = agent.to_ascii_lowercase();
    targeting::is_crawler(agent) || ["headless", "curl/", "python"].iter().any(|word| folded.contains(word))
}

/// The bids, or a reason of the specification's list, or nothing to say.
pub fn bid(server: &AdServer, request: &BidRequest) -> Result<BidResponse, Option<u8>> {
    let config = &server.platform.config;
    let (currency, ours) = (config.shop.currency, shop_host(&config.shop.url));
    let device = request.device.as_ref();
    let agent = device.and_then(|d| d.ua.as_deref()).unwrap_or_default();
    if is_crawler(agent) {
        return Err(Some(NBR_CRAWLER));
    }
    let seat_taken = request.wseat.is_empty() || request.wseat.iter().any(|s| s == SEAT);
    if !seat_taken || request.bseat.iter().any(|s| s == SEAT) {
        return Err(None);
    }
    if !request.cur.is_empty() && !request.cur.iter().any(|c| c.eq_ignore_ascii_case(currency.code())) {
        return Err(None);
    }
    let snapshot = server.snapshot();
    let now = server.platform.now();
    let (day, hour) = server.local(now);
    let personal = may_personalise(&request.signals(), config.serving.tcf_vendor_id);
    let known = request.user.as_ref().and_then(|u| u.buyeruid.as_deref()).filter(|id| personal && (1..=200).contains(&id.len()));
    let (person, subject, _) = server.viewer(&snapshot, known.map_or(AskedBy::Nobody, AskedBy::Anonymous));
    let context = context_of(request, agent);
    let mut on_page: SmallVec<[ProductId; 4]> = SmallVec::new();
    let (mut bids, mut capped) = (Vec::new(), false);
    let refused = Refused {
        categories: Categories::of(&request.bcat),
        only: Categories::of(&request.acat),
        taxonomy: request.cattax,
        domains: Domains::of(&request.badv),
        shop: ours.clone(),
    };
    let places = Places::on(&snapshot, request);
    let secure = config.server.public_url.starts_with("https://");
    for imp in &request.imp {
        let Some((place, sizes)) = places.of(imp, secure) else { continue };
        let attributes = attributes(imp);
        let deals = deals(imp, currency);
        // A deal goes before the open auction, where there is one.
        let open = floor_micro(imp.bidfloor, &imp.bidfloorcur, currency).filter(|_| !is_private(imp));
        let rounds = [
            (!deals.is_empty()).then_some(Auction { deals: Some(&deals), floor_micro: 0, refused: &refused, attributes: &attributes }),
            open.map(|floor_micro| Auction { deals: None, floor_micro, refused: &refused, attributes: &attributes }),
        ];
        for auction in rounds.iter().flatten() {
            let ask = Ask {
                placement: place,
                sizes: &sizes,
                person,
                subject,
                personal: person.is_some_and(|p| snapshot.people.may_personalise(p)),
                context: &context,
                now,
                hour,
                dry: true,
                auction: Some(auction),
            };
            match server.ask(&snapshot, &ask, day, &mut on_page, None).shown {
                Ok(shown) => {
                    let language = &shown.campaign.locales[usize::from(shown.creative.locale)];
                    if request.wlang.is_empty() || request.wlang.iter().any(|l| l.split('-').next() == Some(language)) {
                        bids.push(offer(server, &shown, place, imp, person, language, &ours));
                        break;
                    }
                }
                Err(reason) => capped |= reason == NoFill::Capped,
            }
        }
    }
    if bids.is_empty() {
        return Err(capped.then_some(NBR_CAPPED));
    }
    metrics::counter!("marquee_bids_total").increment(bids.len() as u64);
    let bidid = bids.first().map(|b| b.id.clone());
    let seatbid = vec![SeatBid { bid: bids, seat: SEAT.into() }];
    Ok(BidResponse { id: request.id.clone(), seatbid, bidid, cur: Some(currency.code().to_owned()), nbr: None })
}

fn shop_host(address: &str) -> String {
    url::Url::parse(address).ok().and_then(|u| u.host_str().map(str::to_ascii_lowercase)).unwrap_or_default()
}

fn context_of(request: &BidRequest, agent: &str) -> Context {
    let place = request.place();
    let words = place.and_then(|p| p.keywords.as_deref()).unwrap_or_default();
    let listed = place.map_or(&[][..], |p| p.kwarray.as_slice());
    let device = request.device.as_ref();
    let kind = match device.and_then(|d| d.devicetype) {
        Some(2) => Some(Device::Desktop),
        Some(4) => Some(Device::Mobile),
        Some(5) => Some(Device::Tablet),
        // Televisions and boxes are none of ours.
        Some(3 | 6 | 7 | 8) => None,
        _ => (!agent.is_empty()).then(|| Device::of_agent(agent)),
    };
    let land = device.and_then(|d| d.geo.as_ref()?.country.as_deref()).and_then(country_code).and_then(country);
    Context { country: land, device: kind, ..Context::default() }.with_keywords(words.split(',').chain(listed.iter().map(String::as_str)))
}

/// Our placements that stand on the site of a request, by key. Looked for once: an auction may be about many impressions.
struct Places<'s> {
    snapshot: &'s Snapshot,
    site: String,
    all: OnceCell<Vec<&'s AdPlacement>>,
}

impl<'s> Places<'s> {
    fn on(snapshot: &'s Snapshot, request: &BidRequest) -> Self {
        let place = request.place();
        let site = place.and_then(|p| p.domain.clone().or_else(|| p.page.as_deref().map(shop_host))).unwrap_or_default();
        Self { snapshot, site: site.trim_end_matches('.').to_ascii_lowercase(), all: OnceCell::new() }
    }

    fn open_here(&self, p: &AdPlacement) -> bool {
        p.exchange
            && (p.site.is_empty() || self.site == p.site || self.site.strip_suffix(p.site.as_str()).is_some_and(|sub| sub.ends_with('.')))
    }

    /// The placement for an impression, and which of its sizes the impression takes: the one that it names, else the first that fits.
    fn of(&self, imp: &Imp, secure: bool) -> Option<(&'s AdPlacement, Sizes)> {
        let banner = imp.banner.as_ref()?;
        let picture = banner.mimes.is_empty() || banner.mimes.iter().any(|m| m == "image/png" || m == "text/html");
        if imp.secure == Some(1) && !secure || banner.btype.contains(&BANNER_TYPE) || !picture {
            return None;
        }
        let taken = banner.sizes();
        let fitting = |p: &'s AdPlacement| {
            let sizes: Sizes = p.sizes.iter().filter(|s| taken.contains(s)).copied().collect();
            (!sizes.is_empty()).then_some((p, sizes))
        };
        if let Some(named) = imp.tagid.as_deref().and_then(|tag| self.snapshot.placements.get(tag)) {
            return Some(named).filter(|p| self.open_here(p)).and_then(fitting);
        }
        let all = self.all.get_or_init(|| {
            let mut all: Vec<&AdPlacement> = self.snapshot.placements.values().filter(|p| self.open_here(p)).collect();
            all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            all
        });
        all.iter().find_map(|p| fitting(p))
    }
}

/// Creative attributes that an impression refuses, in order.
fn attributes(imp: &Imp) -> Vec<i64> {
    let mut all = imp.banner.as_ref().map(|b| b.battr.clone()).unwrap_or_default();
    all.sort_unstable();
    all
}

/// The floor in our money; `None` where it is in another (nothing here converts).
fn floor_micro(floor: f64, of: &str, currency: Currency) -> Option<i64> {
    if floor <= 0.0 {
        return Some(0);
    }
    of.eq_ignore_ascii_case(currency.code()).then(|| micro(floor, currency))
}

/// Only deals are taken.
fn is_private(imp: &Imp) -> bool {
    imp.pmp.as_ref().is_some_and(|p| p.private_auction == 1)
}

/// The deals that our seat may bid under, with a floor in our money.
fn deals(imp: &Imp, currency: Currency) -> Vec<Deal<'_>> {
    let ours = imp.deals().iter().filter(|d| d.wseat.is_empty() || d.wseat.iter().any(|s| s == SEAT));
    ours.filter_map(|d| {
        let floor_micro = floor_micro(d.bidfloor, &d.bidfloorcur, currency)?;
        Some(Deal { id: &d.id, floor_micro, advertisers: Domains::of(&d.wadomain) })
    })
    .collect()
}

fn offer(
    server: &AdServer,
    shown: &Shown<'_>,
    place: &AdPlacement,
    imp: &Imp,
    person: Option<PersonId>,
    language: &str,
    domain: &str,
) -> Bid {
    let config = &server.platform.config;
    let mut ticket = ticket_of(shown, place, person, server.platform.now(), true);
    // A bid's ticket carries what was bid: nobody is charged more.
    ticket.click_micro = shown.item.impression_micro;
    let mut token = Vec::new();
    ticket.sign_into(server.seals(), &mut token);
    let token = String::from_utf8_lossy(&token);
    let (creative, declared) = (shown.creative, &shown.item.declared);
    let click = config.public(&format!("/a/c/{token}"));
    // Whoever sees the banner sees the token of its click; only the exchange may bill.
    let own = ticket.sign_notice(&server.platform.signer);
    let notice = |what: &str, macros: &str| config.public(&format!("/openrtb2/{what}/{own}?{macros}"));
    Bid {
        id: ticket.touch.to_string(),
        impid: imp.id.clone(),
        price: cpm(shown.item.impression_micro, config.shop.currency),
        nurl: notice("win", "price=${AUCTION_PRICE}"),
        burl: notice("bill", "price=${AUCTION_PRICE}"),
        lurl: notice("loss", "reason=${AUCTION_LOSS}"),
        adm: render::html(&click, &creative.image_url, creative.width, creative.height, &creative.title),
        adid: creative.id.to_string(),
        adomain: vec![if declared.domain.is_empty() { domain.to_owned() } else { declared.domain.clone() }],
        cid: shown.campaign.id.to_string(),
        crid: creative.id.to_string(),
        dealid: Some(declared.deal.clone()).filter(|d| !d.is_empty()),
        cat: declared.categories.clone(),
        cattax: (!declared.categories.is_empty()).then_some(TAXONOMY),
        attr: declared.attributes.clone(),
        language: Some(language.to_owned()),
        w: creative.width,
        h: creative.height,
        mtype: MTYPE_BANNER,
        exp: EXPIRES_S,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Timestamp;
    use crate::platform::ids::{CampaignId, CreativeId, PlacementId, VariantId};

    #[test]
    fn prices_are_read_plain_and_coded_and_never_above_the_bid() {
        let ticket = Ticket {
            touch: crate::adserver::ticket::new_touch(Timestamp::from_secs(1)),
            campaign: CampaignId(1),
            item: 1,
            variant: VariantId(1),
            product: ProductId(1),
            creative: CreativeId(1),
            placement: PlacementId(1),
            person: None,
            propensity: 1.0,
            item_chance: 1.0,
            click_micro: 250_000,
            bid: true,
        };
        let charged = |price: Option<&str>| charged_micro(&ticket, price, Currency::EUR);
        assert_eq!(charged(Some("1.25")), 125_000, "€1.25 a thousand is an eighth of a cent");
        let coded = STANDARD.encode("2.00");
        assert_eq!(charged(Some(coded.as_str())), 200_000);
        for odd in [Some("99"), Some("${AUCTION_PRICE}"), Some("-1"), Some("NaN"), Some(""), None] {
            assert_eq!(charged(odd), 250_000, "{odd:?}");
        }
        assert_eq!(cpm(250_000, Currency::EUR), 2.5);
    }
}
