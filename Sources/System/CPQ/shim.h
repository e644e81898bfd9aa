// PostgreSQL's client library, for the full node only.
#include <libpq-fe.h>
