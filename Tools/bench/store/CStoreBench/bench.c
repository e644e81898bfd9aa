// See shim.h.
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <math.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

int64_t bench_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
void bench_wait(int descriptor) {
  struct pollfd wait = {.fd = descriptor, .events = POLLIN};
  poll(&wait, 1, 1000);
}
void bench_fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}
void bench_need(int good, const char *what) {
  if (!good) bench_fail(what);
}
// One figure as a JSON line; what it is made of goes into the note. What is no number was not measured.
void bench_figure(double value, const char *against, const char *note, double a, double b, double c, double d) {
  char text[256];
  snprintf(text, sizeof text, note, a, b, c, d);
  char number[32] = "null";
  if (isfinite(value)) snprintf(number, sizeof number, "%.6g", value);
  printf("{\"value\": %s, \"against\": \"%s\", \"note\": \"%s\"}\n", number, against, text);
  fflush(stdout);
}
// Whether the caches of the system could be dropped.
int bench_drop_caches(void) {
  sync();
  int file = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (file < 0) return 0;
  int good = write(file, "3", 1) == 1;
  close(file);
  return good;
}
// What the disk of the current folder has taken, by whomever it was written; 0 when the folder is on none. What
// /proc/self/io says of a process counts a whole folio for each page of it.
int64_t bench_disk_bytes(void) {
  struct stat folder;
  char path[64];
  long long sectors = 0;
  if (stat(".", &folder) != 0) return 0;
  snprintf(path, sizeof path, "/sys/dev/block/%u:%u/stat", major(folder.st_dev), minor(folder.st_dev));
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  if (fscanf(file, "%*d %*d %*d %*d %*d %*d %lld", &sectors) != 1) sectors = 0;
  fclose(file);
  return sectors * 512;
}
enum { VALUE_BYTES = 4096, RAW_BYTES = 256 << 20 };
static uint8_t bench_values[64 * VALUE_BYTES];
static uint64_t sqlite_key;
const uint8_t *bench_value(int number) { return bench_values + number * VALUE_BYTES; }

// Values as the corpus has them: its lines, one after another.
void bench_read_values(void) {
  const char *path = getenv("CORPUS");
  FILE *file = path ? fopen(path, "r") : 0;
  bench_need(file != 0, "the corpus cannot be read");
  for (size_t have = 0; have < sizeof bench_values;) {
    size_t more = fread(bench_values + have, 1, sizeof bench_values - have, file);
    bench_need(more > 0 || have > 0, "the corpus is empty");
    have += more;
    rewind(file);
  }
  fclose(file);
}
static void bench_next_key(uint64_t *counter, uint8_t key[32]) {
  // Keys of the log are digests: spread evenly.
  uint64_t word = ++*counter;
  for (int i = 0; i < 4; i++) {
    word += 0x9e3779b97f4a7c15u;
    uint64_t z = word;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    memcpy(key + 8 * i, &z, 8);
  }
}

// MARK: Raw

static int raw_file = -1;
static int64_t raw_offset;

void raw_open(const char *path) {
  raw_file = open(path, O_RDWR | O_CREAT, 0600);
  bench_need(raw_file >= 0, "the raw file cannot be made");
  static uint8_t zeros[1 << 20];
  for (int i = 0; i < RAW_BYTES >> 20; i++)
    bench_need(write(raw_file, zeros, sizeof zeros) == sizeof zeros, "the raw file cannot be filled");
  bench_need(fdatasync(raw_file) == 0, "the raw file cannot be synced");
}
// Records a second: one write and one fdatasync for each batch, into blocks that exist.
double raw_run(int batch, double seconds) {
  int64_t start = bench_nanoseconds(), end = start + (int64_t)(seconds * 1e9), now = start;
  long count = 0;
  while (now < end) {
    if (raw_offset + batch * VALUE_BYTES > RAW_BYTES) raw_offset = 0;
    bench_need(pwrite(raw_file, bench_values, batch * VALUE_BYTES, raw_offset) == batch * VALUE_BYTES, "raw write");
    bench_need(fdatasync(raw_file) == 0, "raw sync");
    raw_offset += batch * VALUE_BYTES;
    count += batch;
    now = bench_nanoseconds();
  }
  return count / ((now - start) / 1e9);
}

// Reads a second of one record where the log's would be, by the call that the log makes: what a warm read costs without it.
double raw_read(double seconds) {
  static uint8_t copy[64 + VALUE_BYTES];
  int64_t start = bench_nanoseconds(), end = start + (int64_t)(seconds * 1e9), now = start;
  long count = 0;
  uint64_t state = 1;
  while (now < end) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    struct iovec part = {copy, sizeof copy};
    off_t offset = (off_t)((state >> 33) % (RAW_BYTES / sizeof copy) * sizeof copy);
    if (preadv2(raw_file, &part, 1, offset, RWF_NOWAIT) != (ssize_t)sizeof copy)
      bench_need(pread(raw_file, copy, sizeof copy, offset) == (ssize_t)sizeof copy, "raw read");
    count++;
    now = bench_nanoseconds();
  }
  return count / ((now - start) / 1e9);
}

// MARK: SQLite

static sqlite3 *sql;
static sqlite3_stmt *sql_insert;

void sqlite_open(const char *path) {
  bench_need(sqlite3_open(path, &sql) == SQLITE_OK, "SQLite does not open");
  bench_need(
      sqlite3_exec(sql,
                   "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                   "CREATE TABLE t (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID",
                   0, 0, 0) == SQLITE_OK,
      "SQLite makes no table");
  sqlite3_prepare_v2(sql, "INSERT INTO t VALUES (?, ?)", -1, &sql_insert, 0);
}
double sqlite_run(int batch, double seconds) {
  int64_t start = bench_nanoseconds(), end = start + (int64_t)(seconds * 1e9), now = start;
  long count = 0;
  while (now < end) {
    sqlite3_exec(sql, "BEGIN", 0, 0, 0);
    for (int i = 0; i < batch; i++) {
      uint8_t key[32];
      bench_next_key(&sqlite_key, key);
      sqlite3_bind_blob(sql_insert, 1, key, 32, SQLITE_TRANSIENT);
      sqlite3_bind_blob(sql_insert, 2, bench_values + i * VALUE_BYTES, VALUE_BYTES, SQLITE_STATIC);
      bench_need(sqlite3_step(sql_insert) == SQLITE_DONE, "SQLite does not insert");
      sqlite3_reset(sql_insert);
    }
    bench_need(sqlite3_exec(sql, "COMMIT", 0, 0, 0) == SQLITE_OK, "SQLite does not commit");
    count += batch;
    now = bench_nanoseconds();
  }
  return count / ((now - start) / 1e9);
}

// MARK: LMDB

static MDB_env *lmdb;
static MDB_dbi lmdb_table;
static uint64_t lmdb_count;

void lmdb_open(const char *path) {
  mkdir(path, 0700);
  MDB_txn *txn;
  mdb_env_create(&lmdb);
  mdb_env_set_mapsize(lmdb, (size_t)8 << 30);
  bench_need(mdb_env_open(lmdb, path, 0, 0600) == 0, "LMDB does not open");
  mdb_txn_begin(lmdb, 0, 0, &txn);
  bench_need(mdb_dbi_open(txn, 0, 0, &lmdb_table) == 0 && mdb_txn_commit(txn) == 0, "LMDB makes no table");
}
double lmdb_run(int batch, double seconds) {
  int64_t start = bench_nanoseconds(), end = start + (int64_t)(seconds * 1e9), now = start;
  long count = 0;
  while (now < end) {
    MDB_txn *txn;
    mdb_txn_begin(lmdb, 0, 0, &txn);
    for (int i = 0; i < batch; i++) {
      uint8_t key[32];
      bench_next_key(&lmdb_count, key);
      MDB_val k = {32, key}, v = {VALUE_BYTES, bench_values + i * VALUE_BYTES};
      bench_need(mdb_put(txn, lmdb_table, &k, &v, 0) == 0, "LMDB does not put");
    }
    bench_need(mdb_txn_commit(txn) == 0, "LMDB does not commit");
    count += batch;
    now = bench_nanoseconds();
  }
  return count / ((now - start) / 1e9);
}
// Random reads a second, each with a copy of the value, as the log's reads are.
double lmdb_read(double seconds) {
  static uint8_t copy[VALUE_BYTES];
  int64_t start = bench_nanoseconds(), end = start + (int64_t)(seconds * 1e9), now = start;
  long count = 0;
  uint64_t state = 1;
  while (now < end) {
    uint8_t key[32];
    state = state * 6364136223846793005u + 1442695040888963407u;
    uint64_t number = (state >> 33) % lmdb_count;
    bench_next_key(&number, key);
    MDB_txn *txn;
    MDB_val k = {32, key}, v;
    mdb_txn_begin(lmdb, 0, MDB_RDONLY, &txn);
    bench_need(mdb_get(txn, lmdb_table, &k, &v) == 0 && v.mv_size == VALUE_BYTES, "LMDB does not find");
    memcpy(copy, v.mv_data, VALUE_BYTES);
    mdb_txn_abort(txn);
    count++;
    now = bench_nanoseconds();
  }
  return count / ((now - start) / 1e9);
}

// MARK: Memory

// The names under which memory can be asked for, in front of the C library's own: each call is counted.
static _Atomic int64_t allocations;
int64_t bench_allocations(void) { return allocations; }

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) {
  allocations++;
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  allocations++;
  return __libc_calloc(count, size);
}
void *realloc(void *block, size_t size) {
  allocations++;
  return __libc_realloc(block, size);
}
void *memalign(size_t alignment, size_t size) {
  allocations++;
  return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **block, size_t alignment, size_t size) {
  *block = memalign(alignment, size);
  return *block ? 0 : ENOMEM;
}
void *mmap64(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  allocations++;
  return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}
