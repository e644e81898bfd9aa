// What the log is measured against: raw writes into recycled blocks, SQLite 3 and LMDB, with the same values.
#include <stdint.h>

int64_t bench_nanoseconds(void);
void bench_wait(int descriptor);
void bench_fail(const char *what);
void bench_need(int good, const char *what);
void bench_figure(double value, const char *against, const char *note, double a, double b, double c, double d);
int bench_drop_caches(void);
int64_t bench_disk_bytes(void);
int64_t bench_allocations(void);
const uint8_t *bench_value(int number);
void bench_read_values(void);
void raw_open(const char *path);
double raw_run(int batch, double seconds);
double raw_read(double seconds);
void sqlite_open(const char *path);
double sqlite_run(int batch, double seconds);
void lmdb_open(const char *path);
double lmdb_run(int batch, double seconds);
double lmdb_read(double seconds);
