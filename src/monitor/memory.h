/* Memory of this process, given back. */
#pragma once

/* Tells the allocator to keep little: called once, before anything is allocated. */
void vivi_memory_small(void);
/* Returns what is free to the system. */
void vivi_memory_trim(void);
/* Absolute path of this executable; 0, or −1. */
int vivi_self_path(char *ret, unsigned long size);
