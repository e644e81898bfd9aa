#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1  // as CLinux has it: both import the same libc headers
#endif
#include <lz4.h>
