"""The retention rules of viralmommy: its document's cleanup of jobs and archive of posts."""

from leadctl.apps.retention import Rule

RULES = (
    # By the time of the last change, which finishing is: a job may be made long before it runs.
    Rule(
        "finished-jobs",
        table="publish_jobs",
        age_column="updated_at",
        older_than="90d",
        condition="status IN ('COMPLETED', 'FAILED')",
        description="Jobs that completed or failed: history, which the queue does not need.",
    ),
    # A year, so that a season can be compared with the one before.
    Rule(
        "old-posts",
        table="published_posts",
        age_column="published_at",
        older_than="365d",
        condition="deleted_at IS NULL",
        archive=True,
        description="Posts of more than a year ago, with their last engagement.",
    ),
    Rule(
        "deleted-posts",
        table="published_posts",
        age_column="deleted_at",
        older_than="30d",
        description="Posts that were marked as deleted; until then they can be restored.",
    ),
    # A video that is deleted takes its posts along, and theirs is the engagement: they go first,
    # each by a rule of its own.
    Rule(
        "deleted-videos",
        table="videos",
        age_column="deleted_at",
        older_than="30d",
        condition="NOT EXISTS (SELECT FROM published_posts WHERE video_id = videos.id)",
        description="Videos that were marked as deleted and have no posts left.",
    ),
    Rule(
        "old-quotas",
        table="youtube_quotas",
        age_column="date",
        older_than="90d",
        description="Days whose YouTube quota is no longer needed.",
    ),
)
