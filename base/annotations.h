/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clang's thread-safety annotations under short names, nothing for GCC: `clang -Wthread-safety`
 * checks them. And which sanitizer a build is for.
 */
#ifndef UBD_ANNOTATIONS_H
#define UBD_ANNOTATIONS_H

#if defined(__SANITIZE_ADDRESS__)
#define UBD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UBD_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define UBD_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UBD_TSAN 1
#endif
#endif

#ifdef __clang__
#define UBD_TSA(x) __attribute__((x))
#else
#define UBD_TSA(x)
#endif

/* A type that is a lock. */
#define CAPABILITY(name) UBD_TSA(capability(name))
/*
 * A field that may be touched only with the lock held. In C, a compiler that reads the attribute
 * where it stands does not know the struct's other members yet. Clang 19 and later can put that off
 * until the struct is complete (-fexperimental-late-parse-attributes); meson.build then sets
 * UBD_FIELD_LOCKS. It checks that the member of that name is held, not that it belongs to the same
 * object. All other annotations are checked by every build with Clang.
 */
#ifdef UBD_FIELD_LOCKS
#define GUARDED_BY(lock) UBD_TSA(guarded_by(&lock))
#else
#define GUARDED_BY(lock)
#endif
#define PT_GUARDED_BY(lock)
#define GLOBAL_GUARDED_BY(lock)	  UBD_TSA(guarded_by(lock))
/* A function that is called with the lock held, or must not be. */
#define REQUIRES(...)		  UBD_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...)	  UBD_TSA(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...)		  UBD_TSA(locks_excluded(__VA_ARGS__))
/* A function that takes or drops the lock. */
#define ACQUIRE(...)		  UBD_TSA(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...)	  UBD_TSA(acquire_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...)	  UBD_TSA(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...)		  UBD_TSA(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...)	  UBD_TSA(release_shared_capability(__VA_ARGS__))
/* A function whose locking the analysis cannot follow; say why beside it. */
#define NO_THREAD_SAFETY_ANALYSIS UBD_TSA(no_thread_safety_analysis)

#endif
