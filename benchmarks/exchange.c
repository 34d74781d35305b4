/*
 * What an exchange by seccomp user notification costs without Python: a child makes a call again and again, its parent
 * answers. Prints the nanoseconds of the fastest batch, for a system call as a notification of its own; for one that is
 * trapped, so that the return from the signal handler is the notification, as the native processor has it; and in the
 * same way for HLT (#GP) and for a read where there is no page (#PF).
 */
#define _GNU_SOURCE
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALL 0x6000
#define BATCH 32

enum what { NOTIFIED, TRAPPED, PROTECTION, PAGE };

static void handler(int number) { (void)number; }

static int install(enum what what, unsigned flags) {
  int trapped = what != NOTIFIED;
  /* Of two rules only the notified one differs: the call itself, or the return from its handler. */
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALL, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, trapped ? SECCOMP_RET_TRAP : SECCOMP_RET_USER_NOTIF),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, trapped ? __NR_rt_sigreturn : CALL, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return (int)syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void child(enum what what, int *shared) {
  struct sigaction action = {.sa_handler = handler};
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  sigaction(SIGSYS, &action, NULL);
  sigaction(SIGSEGV, &action, NULL);
  int listener = install(what, SECCOMP_FILTER_FLAG_NEW_LISTENER);
  *(volatile int *)shared = listener < 0 ? -2 : listener;
  /* What faults is executed again each time the handler has returned. */
  if (what == PROTECTION) __asm__ volatile("hlt");
  if (what == PAGE) __asm__ volatile("movl 0x10000000, %%eax" ::: "eax");
  for (;;) syscall(CALL);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double measure(enum what what, double seconds) {
  int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  *shared = -1;
  pid_t pid = fork();
  if (pid == 0) child(what, shared);
  while (*(volatile int *)shared == -1) usleep(100);
  if (*shared < 0) return -1;
  int own = (int)syscall(__NR_pidfd_open, pid, 0);
  int listener = (int)syscall(__NR_pidfd_getfd, own, *shared, 0);
  if (listener < 0) return -1;
  ioctl(listener, _IOW('!', 4, __u64), 1); /* wake the other side up on this processor (Linux 6.6) */
  struct seccomp_notif request;
  double best = 1e18, end = now() + seconds * 1e9;
  while (now() < end) {
    double begin = now();
    for (int i = 0; i < BATCH; i++) {
      memset(&request, 0, sizeof request);
      if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request)) return -1;
      struct seccomp_notif_resp reply = {.id = request.id};
      if (what != NOTIFIED) reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
      if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply)) return -1;
    }
    double each = (now() - begin) / BATCH;
    if (each < best) best = each;
  }
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  return best;
}

int main(int count, char **words) {
  double seconds = count > 1 ? atof(words[1]) : 0.2;
  for (enum what what = NOTIFIED; what <= PAGE; what++) printf("%.0f\n", measure(what, seconds));
  return 0;
}
