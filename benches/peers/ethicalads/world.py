"""Run by EthicalAds's own `manage.py shell`: one publisher, one campaign, 50 paid flights of one text ad each. Prints the API token."""

import datetime
import os

from django.contrib.auth import get_user_model
from django.contrib.sites.models import Site
from rest_framework.authtoken.models import Token

from adserver.models import AdType, Advertisement, Advertiser, Campaign, Flight, Publisher, PublisherGroup

flights = int(os.environ["BENCH_ITEMS"])
Site.objects.update_or_create(pk=1, defaults={"domain": os.environ["BENCH_HOST"], "name": "bench"})
publisher = Publisher.objects.create(name="Bench", slug="bench", allow_paid_campaigns=True, record_views=False)
group = PublisherGroup.objects.create(name="Bench", slug="bench")
group.publishers.add(publisher)
advertiser = Advertiser.objects.create(name="Bench", slug="bench")
campaign = Campaign.objects.create(name="Bench", slug="bench", advertiser=advertiser, campaign_type="paid")
campaign.publisher_groups.add(group)
kind = AdType.objects.create(name="Bench", slug="bench", has_image=False, has_text=True)
today = datetime.date.today()
for n in range(flights):
    flight = Flight.objects.create(
        name=f"Flight {n}",
        slug=f"flight-{n}",
        campaign=campaign,
        live=True,
        cpm=2.5,
        sold_impressions=100_000_000,
        start_date=today - datetime.timedelta(days=10),
        end_date=today + datetime.timedelta(days=20),
        targeting_parameters={"include_keywords": ["trays"]} if n % 3 == 0 else {},
    )
    ad = Advertisement.objects.create(
        name=f"Ad {n}",
        slug=f"ad-{n}",
        headline="Walnut tray",
        content=f"A tray for every table, number {n}",
        cta="Look at it",
        link=f"https://shop.example.com/p/{n}",
        live=True,
        flight=flight,
    )
    ad.ad_types.add(kind)
user = get_user_model().objects.create_user(name="bench", email="bench@example.test", password="not used here")
user.publishers.add(publisher)
print("TOKEN=" + Token.objects.create(user=user).key)
