/* In the place of the threads of the C library. A thread says so on stderr and does its work before the one that starts
 * it goes on; with REFUSE there is none to be had. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  (void)thread;
  (void)attributes;
#if defined(REFUSE)
  (void)start;
  (void)argument;
  fputs("refused\n", stderr);
  return EAGAIN;
#else
  fputs("started\n", stderr);
  start(argument);
  return 0;
#endif
}

int pthread_join(pthread_t thread, void **result) {
  (void)thread;
  (void)result;
  fputs("joined\n", stderr);
  return 0;
}
