#ifndef BASE_VERSION_H
#define BASE_VERSION_H

/* The version of everything in this tree. */
#define PICKET_VERSION "0.1.0"

#endif
