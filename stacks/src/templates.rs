//! Ready commands for services that many stacks have. They are text to copy, nothing else knows them.

/// Commands for one kind of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// What it is for.
    pub name: &'static str,
    /// The `backup:` of a service, as YAML.
    pub text: &'static str,
    /// Words in the name of an image that tell it.
    images: &'static [&'static str],
    /// Whether the service's files are worth saving beside the dump.
    pub(crate) files_too: bool,
}

/// All of them.
pub const TEMPLATES: [Template; 5] = [
    Template {
        name: "postgres",
        text: POSTGRES,
        images: &["postgres", "pgvector", "postgis", "timescale"],
        files_too: false,
    },
    Template { name: "mariadb", text: MARIADB, images: &["mariadb", "mysql", "percona"], files_too: false },
    Template { name: "sqlite", text: SQLITE, images: &[], files_too: true },
    Template { name: "redis", text: REDIS, images: &["redis", "valkey", "keydb"], files_too: false },
    Template { name: "mongodb", text: MONGODB, images: &["mongo"], files_too: false },
];

/// The template of a name.
pub fn by_name(name: &str) -> Option<&'static Template> {
    let name = if name == "mysql" { "mariadb" } else { name };
    TEMPLATES.iter().find(|template| template.name == name)
}

/// The template that an image of this name needs.
pub(crate) fn of_image(image: &str) -> Option<&'static Template> {
    let name = image.rsplit('/').next().unwrap_or_default().split([':', '@']).next().unwrap_or_default();
    // An exporter or an administration page beside a database is none itself.
    let is_beside = ["exporter", "admin", "backup", "express", "insight"].iter().any(|word| name.contains(word));
    TEMPLATES.iter().find(|template| !is_beside && template.images.iter().any(|word| name.contains(word)))
}

const POSTGRES: &str = r#"# -Z0: what is compressed does not deduplicate. The password comes from the container's own environment.
# One database, with its grants; roles are the server's: where there are others than POSTGRES_USER, dump
# them as a service of their own with `pg_dumpall --roles-only`, or all with `pg_dumpall --clean --if-exists`.
backup:
  dump: 'pg_dump -Fc -Z0 -U "$POSTGRES_USER" "${POSTGRES_DB:-$POSTGRES_USER}"'
  restore: >-
    until pg_isready -q -U "$POSTGRES_USER"; do sleep 1; done;
    pg_restore -U "$POSTGRES_USER" -d "${POSTGRES_DB:-$POSTGRES_USER}" --clean --if-exists --exit-on-error
  verify: >-
    psql -U "$POSTGRES_USER" -d "${POSTGRES_DB:-$POSTGRES_USER}" -Atc
    "select count(*) from information_schema.tables where table_schema not in ('pg_catalog', 'information_schema')"
  timeout: 2h
"#;

const MARIADB: &str = r#"# MySQL: mysqldump and mysql instead of mariadb-dump and mariadb. One row a line deduplicates best. All
# databases, and with them users and grants, the password of root included.
backup:
  dump: >-
    MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb-dump -u root --all-databases --single-transaction --quick
    --flush-privileges --routines --events --triggers --skip-dump-date --skip-extended-insert --order-by-primary
  restore: >-
    until MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb-admin -u root ping --silent; do sleep 1; done;
    MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb -u root
  verify: >-
    MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb -u root -N -e
    "select count(*) from information_schema.tables where table_type = 'BASE TABLE'"
  timeout: 2h
"#;

const SQLITE: &str = r#"# The database comes as a dump, consistent also while it is written; leave its file out of persist with
# exclude: ["app.db", "app.db-wal", "app.db-shm"]. DATABASE is its path.
backup:
  exec: host
  dump: "sqlite3 -readonly DATABASE .dump"
  restore: "rm -f DATABASE DATABASE-wal DATABASE-shm && sqlite3 -bail DATABASE"
  verify: "sqlite3 -readonly DATABASE 'pragma integrity_check; select count(*) from sqlite_master'"
  timeout: 30m
"#;

const REDIS: &str = r#"# The file that a replica would get. It is read when the server starts, so restore it before that:
# `exec: host` writes it beside where the container looks for it.
backup:
  dump: "redis-cli --no-auth-warning --rdb /dev/stdout"
  restore: "cat > /data/dump.rdb"
  verify: "redis-cli dbsize"
  timeout: 30m
"#;

const MONGODB: &str = r#"# --archive writes one stream; without --gzip it deduplicates. Passwords go through a pipe: arguments can be
# read by every process of the machine.
backup:
  dump: >-
    printf 'password: "%s"\n' "$MONGO_INITDB_ROOT_PASSWORD" |
    mongodump --quiet --archive --config=/dev/stdin -u "$MONGO_INITDB_ROOT_USERNAME" --authenticationDatabase admin
  restore: >-
    exec 3<&0; printf 'password: "%s"\n' "$MONGO_INITDB_ROOT_PASSWORD" |
    { exec 4<&0 0<&3; mongorestore --quiet --archive --drop --config=/dev/fd/4 -u "$MONGO_INITDB_ROOT_USERNAME"
    --authenticationDatabase admin; }
  verify: >-
    mongosh --quiet --nodb --eval "const of = (name) => encodeURIComponent(process.env['MONGO_INITDB_ROOT_' + name]);
    connect('mongodb://' + of('USERNAME') + ':' + of('PASSWORD') + '@127.0.0.1/admin')
    .adminCommand('listDatabases').databases.length"
  timeout: 2h
"#;
