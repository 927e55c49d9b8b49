//! OpenRTB 2.6: what of a bid request is read, by its exact names, and the response. Unknown fields are passed over, as the specification asks.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::consent::Signals;
use crate::adserver::auction::TAXONOMY;

/// Impressions of one request.
const MAX_IMPS: usize = 64;
/// Sizes of one impression.
const MAX_SIZES: usize = 100;
/// Deals of one impression.
const MAX_DEALS: usize = 100;

#[derive(Debug, Deserialize, ToSchema)]
pub struct BidRequest {
    pub id: String,
    pub imp: Vec<Imp>,
    #[serde(default)]
    pub site: Option<Site>,
    #[serde(default)]
    pub app: Option<Site>,
    #[serde(default)]
    pub dooh: Option<Site>,
    #[serde(default)]
    pub device: Option<Device>,
    #[serde(default)]
    pub user: Option<User>,
    #[serde(default)]
    pub regs: Option<Regs>,
    /// 1: nothing is paid for.
    #[serde(default)]
    pub test: i64,
    /// Currencies that are taken; empty: any.
    #[serde(default)]
    pub cur: Vec<String>,
    #[serde(default)]
    pub wseat: Vec<String>,
    #[serde(default)]
    pub bseat: Vec<String>,
    /// Languages of creatives that are taken.
    #[serde(default)]
    pub wlang: Vec<String>,
    /// Advertisers' domains that are refused.
    #[serde(default)]
    pub badv: Vec<String>,
    /// Categories that are refused.
    #[serde(default)]
    pub bcat: Vec<String>,
    /// The only categories that are taken.
    #[serde(default)]
    pub acat: Vec<String>,
    /// Their taxonomy; 1: IAB Content Category Taxonomy 1.0.
    #[serde(default = "taxonomy")]
    pub cattax: i64,
}

fn taxonomy() -> i64 {
    TAXONOMY
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct Imp {
    pub id: String,
    #[serde(default)]
    pub banner: Option<BannerAsk>,
    /// Our placement's key, where the exchange was told it.
    #[serde(default)]
    pub tagid: Option<String>,
    #[serde(default)]
    pub bidfloor: f64,
    #[serde(default = "usd")]
    pub bidfloorcur: String,
    /// 1: every address must be https.
    #[serde(default)]
    pub secure: Option<i64>,
    #[serde(default)]
    pub pmp: Option<Pmp>,
}

fn usd() -> String {
    "USD".into()
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct BannerAsk {
    #[serde(default)]
    pub format: Vec<Size>,
    #[serde(default)]
    pub w: Option<u32>,
    #[serde(default)]
    pub h: Option<u32>,
    /// Banner types that are refused; ours is 2, a picture in a link.
    #[serde(default)]
    pub btype: Vec<i64>,
    /// Creative attributes that are refused.
    #[serde(default)]
    pub battr: Vec<i64>,
    #[serde(default)]
    pub mimes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
pub struct Size {
    #[serde(default)]
    pub w: u32,
    #[serde(default)]
    pub h: u32,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct Pmp {
    /// 1: only deals are taken.
    #[serde(default)]
    pub private_auction: i64,
    #[serde(default)]
    pub deals: Vec<DealAsk>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct DealAsk {
    pub id: String,
    #[serde(default)]
    pub bidfloor: f64,
    #[serde(default = "usd")]
    pub bidfloorcur: String,
    /// Seats that may bid; empty: any.
    #[serde(default)]
    pub wseat: Vec<String>,
    /// Advertisers that may bid; empty: any.
    #[serde(default)]
    pub wadomain: Vec<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct Site {
    #[serde(default)]
    pub domain: Option<String>,
    #[serde(default)]
    pub page: Option<String>,
    /// Separated by commas.
    #[serde(default)]
    pub keywords: Option<String>,
    #[serde(default)]
    pub kwarray: Vec<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct Device {
    #[serde(default)]
    pub ua: Option<String>,
    #[serde(default)]
    pub dnt: i64,
    #[serde(default)]
    pub lmt: i64,
    #[serde(default)]
    pub devicetype: Option<i64>,
    #[serde(default)]
    pub geo: Option<Geo>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct Geo {
    /// Three letters.
    #[serde(default)]
    pub country: Option<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct User {
    /// The browser's id as we know it.
    #[serde(default)]
    pub buyeruid: Option<String>,
    #[serde(default)]
    pub consent: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub ext: Ext,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct Regs {
    #[serde(default)]
    pub coppa: i64,
    #[serde(default)]
    pub gdpr: Option<i64>,
    #[serde(default)]
    pub us_privacy: Option<String>,
    #[serde(default)]
    pub gpp: Option<String>,
    #[serde(default)]
    pub gpp_sid: Vec<i64>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub ext: Ext,
}

/// Where 2.5 kept what 2.6 has in the objects themselves.
#[derive(Debug, Default, Deserialize)]
pub struct Ext {
    #[serde(default)]
    pub consent: Option<String>,
    #[serde(default)]
    pub gdpr: Option<i64>,
    #[serde(default)]
    pub us_privacy: Option<String>,
}

impl BidRequest {
    /// What the specification demands beyond the shape; an answer with `nbr` 2 where it is broken.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.id.is_empty() || self.id.len() > 256 {
            return Err("id is missing");
        }
        if self.imp.is_empty() || self.imp.len() > MAX_IMPS {
            return Err("imp holds 1 to 64 impressions");
        }
        let mut ids = HashSet::new();
        if self.imp.iter().any(|i| i.id.is_empty() || i.id.len() > 256 || !ids.insert(i.id.as_str())) {
            return Err("imp.id is missing or occurs twice");
        }
        let price = |p: f64| p.is_finite() && p >= 0.0;
        if self.imp.iter().any(|i| !price(i.bidfloor) || i.deals().iter().any(|d| !price(d.bidfloor))) {
            return Err("a bidfloor is no price");
        }
        if self.imp.iter().any(|i| i.deals().len() > MAX_DEALS) {
            return Err("more than 100 deals");
        }
        match [&self.site, &self.app, &self.dooh].iter().filter(|p| p.is_some()).count() {
            1 => Ok(()),
            _ => Err("exactly one of site, app and dooh"),
        }
    }

    pub fn place(&self) -> Option<&Site> {
        self.site.as_ref().or(self.app.as_ref()).or(self.dooh.as_ref())
    }

    pub fn signals(&self) -> Signals<'_> {
        let (regs, user) = (self.regs.as_ref(), self.user.as_ref());
        Signals {
            gdpr: regs.and_then(|r| r.gdpr.or(r.ext.gdpr)),
            tcf: user.and_then(|u| u.consent.as_deref().or(u.ext.consent.as_deref())),
            us_privacy: regs.and_then(|r| r.us_privacy.as_deref().or(r.ext.us_privacy.as_deref())),
            gpp: regs.and_then(|r| r.gpp.as_deref()),
            gpp_sid: regs.map_or(&[], |r| r.gpp_sid.as_slice()),
            coppa: regs.is_some_and(|r| r.coppa == 1),
            limited: self.device.as_ref().is_some_and(|d| d.lmt == 1 || d.dnt == 1),
        }
    }
}

impl Imp {
    pub fn deals(&self) -> &[DealAsk] {
        self.pmp.as_ref().map_or(&[], |p| p.deals.as_slice())
    }
}

impl BannerAsk {
    /// The sizes that fit, in the exchange's order; at most [`MAX_SIZES`] are looked at.
    pub fn sizes(&self) -> Vec<(u32, u32)> {
        let own = self.w.zip(self.h);
        let mut sizes: Vec<(u32, u32)> =
            self.format.iter().map(|f| (f.w, f.h)).chain(own).filter(|(w, h)| *w > 0 && *h > 0).take(MAX_SIZES).collect();
        sizes.dedup();
        sizes
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BidResponse {
    pub id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seatbid: Vec<SeatBid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bidid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cur: Option<String>,
    /// Why there is no bid: 2 invalid request, 3 known crawler, 9 the user has seen enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbr: Option<u8>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SeatBid {
    pub bid: Vec<Bid>,
    pub seat: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Bid {
    pub id: String,
    pub impid: String,
    /// Per thousand impressions, in `cur`.
    pub price: f64,
    /// Called when the auction is won.
    pub nurl: String,
    /// Called when the impression is billed: from then on it counts.
    pub burl: String,
    /// Called when the auction is lost.
    pub lurl: String,
    pub adm: String,
    pub adid: String,
    pub adomain: Vec<String>,
    /// Our campaign.
    pub cid: String,
    pub crid: String,
    /// The deal that it is bid under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dealid: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cat: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cattax: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attr: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    pub w: u32,
    pub h: u32,
    /// 1: banner.
    pub mtype: u8,
    /// Seconds that the bid stands.
    pub exp: u32,
}

/// ISO 3166: three letters and two.
const COUNTRIES: &str = "ABWAW AFGAF AGOAO AIAAI ALAAX ALBAL ANDAD AREAE ARGAR ARMAM ASMAS ATAAQ ATFTF ATGAG AUSAU AUTAT AZEAZ BDIBI BELBE \
    BENBJ BESBQ BFABF BGDBD BGRBG BHRBH BHSBS BIHBA BLMBL BLRBY BLZBZ BMUBM BOLBO BRABR BRBBB BRNBN BTNBT BVTBV BWABW CAFCF CANCA CCKCC \
    CHECH CHLCL CHNCN CIVCI CMRCM CODCD COGCG COKCK COLCO COMKM CPVCV CRICR CUBCU CUWCW CXRCX CYMKY CYPCY CZECZ DEUDE DJIDJ DMADM DNKDK \
    DOMDO DZADZ ECUEC EGYEG ERIER ESHEH ESPES ESTEE ETHET FINFI FJIFJ FLKFK FRAFR FROFO FSMFM GABGA GBRGB GEOGE GGYGG GHAGH GIBGI GINGN \
    GLPGP GMBGM GNBGW GNQGQ GRCGR GRDGD GRLGL GTMGT GUFGF GUMGU GUYGY HKGHK HMDHM HNDHN HRVHR HTIHT HUNHU IDNID IMNIM INDIN IOTIO IRLIE \
    IRNIR IRQIQ ISLIS ISRIL ITAIT JAMJM JEYJE JORJO JPNJP KAZKZ KENKE KGZKG KHMKH KIRKI KNAKN KORKR KWTKW LAOLA LBNLB LBRLR LBYLY LCALC \
    LIELI LKALK LSOLS LTULT LUXLU LVALV MACMO MAFMF MARMA MCOMC MDAMD MDGMG MDVMV MEXMX MHLMH MKDMK MLIML MLTMT MMRMM MNEME MNGMN MNPMP \
    MOZMZ MRTMR MSRMS MTQMQ MUSMU MWIMW MYSMY MYTYT NAMNA NCLNC NERNE NFKNF NGANG NICNI NIUNU NLDNL NORNO NPLNP NRUNR NZLNZ OMNOM PAKPK \
    PANPA PCNPN PERPE PHLPH PLWPW PNGPG POLPL PRIPR PRKKP PRTPT PRYPY PSEPS PYFPF QATQA REURE ROURO RUSRU RWARW SAUSA SDNSD SENSN SGPSG \
    SGSGS SHNSH SJMSJ SLBSB SLESL SLVSV SMRSM SOMSO SPMPM SRBRS SSDSS STPST SURSR SVKSK SVNSI SWESE SWZSZ SXMSX SYCSC SYRSY TCATC TCDTD \
    TGOTG THATH TJKTJ TKLTK TKMTM TLSTL TONTO TTOTT TUNTN TURTR TUVTV TWNTW TZATZ UGAUG UKRUA UMIUM URYUY USAUS UZBUZ VATVA VCTVC VENVE \
    VGBVG VIRVI VNMVN VUTVU WLFWF WSMWS YEMYE ZAFZA ZMBZM ZWEZW";

/// `DEU` → `DE`; two letters stay.
pub fn country_code(text: &str) -> Option<&str> {
    match text.len() {
        2 => Some(text),
        3 => COUNTRIES.split(' ').find(|pair| pair.len() == 5 && pair[..3].eq_ignore_ascii_case(text)).map(|pair| &pair[3..]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_have_two_letters_here_and_three_there() {
        assert_eq!(COUNTRIES.split(' ').filter(|p| p.len() == 5).count(), 249);
        assert_eq!(
            (country_code("deu"), country_code("GBR"), country_code("US"), country_code("XXX")),
            (Some("DE"), Some("GB"), Some("US"), None)
        );
    }

    #[test]
    fn what_the_specification_demands() {
        let check = |json: serde_json::Value| serde_json::from_value::<BidRequest>(json).expect("shape").check();
        let imp = serde_json::json!([{ "id": "1", "banner": { "format": [{ "w": 300, "h": 250 }] } }]);
        assert_eq!(check(serde_json::json!({ "id": "r", "imp": imp, "site": {}, "unknown": { "ext": 1 } })), Ok(()));
        for broken in [
            serde_json::json!({ "id": "", "imp": imp, "site": {} }),
            serde_json::json!({ "id": "r", "imp": [], "site": {} }),
            serde_json::json!({ "id": "r", "imp": [imp[0], imp[0]], "site": {} }),
            serde_json::json!({ "id": "r", "imp": imp }),
            serde_json::json!({ "id": "r", "imp": imp, "site": {}, "app": {} }),
            serde_json::json!({ "id": "r", "imp": [{ "id": "1", "bidfloor": -1.0 }], "site": {} }),
        ] {
            assert!(check(broken.clone()).is_err(), "{broken}");
        }
    }
}
