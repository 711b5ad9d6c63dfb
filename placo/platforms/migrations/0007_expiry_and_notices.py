import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0006_changes_of_living_platforms"),
    ]

    operations = [
        migrations.CreateModel(
            name="Notice",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("uid", models.CharField(max_length=128)),
                (
                    "kind",
                    models.CharField(
                        choices=[("expiring", "ends soon"), ("stopped", "stopped"), ("retired", "retired")],
                        max_length=16,
                    ),
                ),
                ("ends_on", models.DateField()),
                ("removed_on", models.DateField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("read_at", models.DateTimeField(null=True)),
                ("mailed_at", models.DateTimeField(null=True)),
                ("mail_due_at", models.DateTimeField(null=True)),
                ("mail_attempts", models.PositiveIntegerField(default=0)),
                ("mail_error", models.CharField(blank=True, max_length=300)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Reminder",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("ends_on", models.DateField()),
                ("days", models.PositiveIntegerField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.AddField(
            model_name="platform",
            name="removed_on",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="platform",
            name="start_again",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="platform",
            name="term_from",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="user",
            name="language",
            field=models.CharField(
                blank=True, help_text="the language in which the person used the portal last", max_length=8
            ),
        ),
        migrations.AddIndex(
            model_name="platform",
            index=models.Index(
                condition=models.Q(("state__in", ["declined", "failed", "retired"]), _negated=True),
                fields=["expires_on"],
                name="living_platforms_by_end",
            ),
        ),
        migrations.AddIndex(
            model_name="platform",
            index=models.Index(
                condition=models.Q(("start_again", True)), fields=["id"], name="platforms_to_start_again"
            ),
        ),
        migrations.AddField(
            model_name="notice",
            name="platform",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="notices", to="platforms.platform"
            ),
        ),
        migrations.AddField(
            model_name="reminder",
            name="platform",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="reminders", to="platforms.platform"
            ),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(fields=["uid", "-id"], name="platforms_n_uid_0e5362_idx"),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(condition=models.Q(("read_at", None)), fields=["uid"], name="unread_notices"),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(
                condition=models.Q(("mail_due_at__isnull", False)),
                fields=["mail_due_at"],
                name="mail_to_send",
            ),
        ),
        migrations.AddConstraint(
            model_name="reminder",
            constraint=models.UniqueConstraint(
                fields=("platform", "ends_on", "days"), name="one_reminder_of_each_kind"
            ),
        ),
        # Platforms that are there: granted since they were asked for, which only decides which reminders make sense.
        migrations.RunSQL(
            "UPDATE platforms_platform SET term_from = created_at::date WHERE expires_on IS NOT NULL",
            migrations.RunSQL.noop,
        ),
    ]
