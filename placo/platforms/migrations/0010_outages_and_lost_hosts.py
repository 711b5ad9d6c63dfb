import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0009_former_plans_renewals_and_web_requests"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="platform",
            name="one_living_platform_per_slug",
        ),
        migrations.AddField(
            model_name="host",
            name="lost_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="host",
            name="lost_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="host",
            name="silent_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="platform",
            name="left_on",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="left_behind",
                to="platforms.host",
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="away_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="step",
            name="unheard",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="step",
            name="waits_for",
            field=models.CharField(blank=True, max_length=50),
        ),
        migrations.AddIndex(
            model_name="step",
            index=models.Index(
                condition=models.Q(("waits_for", ""), _negated=True),
                fields=["waits_for"],
                name="steps_that_wait_for_a_place",
            ),
        ),
        migrations.AddConstraint(
            model_name="platform",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["declined", "failed", "retired"]), _negated=True),
                    ("left_on__isnull", False),
                    _connector="OR",
                ),
                fields=("slug",),
                name="one_living_platform_per_slug",
            ),
        ),
    ]
