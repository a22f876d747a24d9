#include "fs/maintenance.h"

void maintenance_init(struct maintenance *maintenance)
{
    *maintenance = (struct maintenance){ .lock = MUTEX_INIT, .over = PTHREAD_COND_INITIALIZER };
}

static bool take(struct maintenance *maintenance, bool is_check, bool waits_for_check)
{
    mutex_lock(&maintenance->lock);
    while (maintenance->is_taken && (waits_for_check || !maintenance->is_check))
        cond_wait(&maintenance->over, &maintenance->lock);
    bool is_free = !maintenance->is_taken;
    if (is_free) {
        maintenance->is_taken = true;
        maintenance->is_check = is_check;
    }
    mutex_unlock(&maintenance->lock);
    return is_free;
}

void maintenance_begin(struct maintenance *maintenance)
{
    (void)take(maintenance, false, true); /* which cannot fail */
}

void maintenance_begin_check(struct maintenance *maintenance)
{
    (void)take(maintenance, true, true);
}

bool maintenance_try(struct maintenance *maintenance)
{
    return take(maintenance, false, false);
}

void maintenance_end(struct maintenance *maintenance)
{
    mutex_lock(&maintenance->lock);
    maintenance->is_taken = false;
    maintenance->is_check = false;
    (void)pthread_cond_broadcast(&maintenance->over);
    mutex_unlock(&maintenance->lock);
}

bool maintenance_is_check(struct maintenance *maintenance)
{
    mutex_lock(&maintenance->lock);
    bool is_check = maintenance->is_check;
    mutex_unlock(&maintenance->lock);
    return is_check;
}
